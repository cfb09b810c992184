"""Public and synthetic data sets of several tasks."""
