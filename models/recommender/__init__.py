"""Recommenders of several tasks."""
