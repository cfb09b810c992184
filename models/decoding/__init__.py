"""Decoding: text from a model, by sampling or beam search."""
