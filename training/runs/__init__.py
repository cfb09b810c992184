"""A training run: its folder, checkpoints, training, and what it serves."""
