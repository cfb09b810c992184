"""The recipe of the LSTM language model."""
