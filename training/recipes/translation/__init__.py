"""The recipe of a translation model."""
