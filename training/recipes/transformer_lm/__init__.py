"""The recipe of the Transformer language model."""
