"""Slow NumPy versions of the papers, written from their equations."""
