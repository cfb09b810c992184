"""The recipe of a text classifier."""
