"""The recipe of a multi-task recommender."""
