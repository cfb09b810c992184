"""Texts as token ids in batches."""
