"""Recipes: settings, data and models of a training run."""
