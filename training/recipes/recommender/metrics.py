"""Exact metrics of one task over a whole table."""

import numpy as np
from numpy.typing import ArrayLike


def area_under_curve(labels: ArrayLike, scores: ArrayLike) -> float:
    """Compute the AUC: how often a positive row scores above a negative one, ties half.

    Exact, by ranks (Mann and Whitney 1947); `keras.metrics.AUC` sums over thresholds.

    Args:
        labels: `[rows]` of 0 and 1.
        scores: `[rows]`.

    Returns:
        `float`; NaN if all labels are the same, for which it is undefined.

    Example:

    >>> float(area_under_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    labels, scores = np.asarray(labels, bool), np.asarray(scores, "float64")
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    if not pairs:
        return np.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return (ranks[labels].sum() - positives * (positives + 1) / 2) / pairs


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Compute `-mean(log p(label))`, in nats, of 0 and 1, or of classes.

    Args:
        labels: `[rows]` of 0 and 1, or of classes.
        probabilities: `[rows]` of label 1, or `[rows, classes]`.
    """
    labels, chosen = np.asarray(labels, int), np.asarray(probabilities, "float64")
    if chosen.ndim == 1:
        chosen = np.stack([1 - chosen, chosen], 1)
    chosen = chosen[np.arange(len(labels)), labels]
    return -np.mean(np.log(np.maximum(chosen, 1e-7)))


def root_mean_square(labels: ArrayLike, values: ArrayLike) -> float:
    """Compute `sqrt(mean((label - value)^2))`."""
    return np.sqrt(np.mean(np.square(np.asarray(labels, "float64") - values)))


def calibration(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Divide the sum of probabilities by the sum of labels; 1 is ideal, NaN without labels."""
    total = np.sum(np.asarray(labels, "float64"))
    return np.sum(np.asarray(probabilities, "float64")) / total if total else np.nan


def accuracy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Compute the share of rows whose most probable class is their label."""
    return np.mean(np.argmax(probabilities, -1) == np.asarray(labels))
