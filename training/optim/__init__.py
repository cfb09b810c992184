"""Optimizers, schedules, losses and metrics."""
