"""How much an expert says about a label."""

from typing import Any, NamedTuple

import numpy as np


class Information(NamedTuple):
    """Mutual information between expert and label, in nats.

    Fields:
        nats: `I = sum_le p_le log(p_le / (p_l p_e))` of the counts' shares.
        by_chance: What N choices that are independent of the label show in the mean, about
            `(L - 1) (E - 1) / (2 N)` with the labels and experts that occur.
        of_label: I over the entropy of the label, from 0 to 1; 0 if there is one label.
    """

    nats: float
    by_chance: float
    of_label: float


def mutual_information(counts: Any) -> Information:
    """Return the mutual information between the expert of a choice and the label of its token.

    Args:
        counts: `<int>[L, E]`, as `count_labels` returns them.

    Returns:
        The information. If `nats` is not far above `by_chance`, the experts do not tell the
        labels apart, or there are too few tokens to see it.

    Raises:
        ValueError: If there are no counts, or some are negative.

    Example:

    >>> known = mutual_information([[10, 0], [0, 10]])  # each label has its expert
    >>> round(known.nats, 4), known.of_label  # log 2
    (0.6931, 1.0)

    The value by chance holds for many choices that do not depend on each other: `2 N I` is then
    distributed as chi-squared, the G-test, with a mean of `(L - 1) (E - 1)` degrees of freedom.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    if total <= 0 or counts.min() < 0:
        raise ValueError(
            f"Expected counts of at least one choice. Received: counts from {counts.min():g}, "
            f"{total:g} in all. Take tokens that the layer routes."
        )
    shares = counts / total
    labels, experts = shares.sum(1), shares.sum(0)
    nats = max(_entropy(labels) + _entropy(experts) - _entropy(shares), 0.0)
    freedom = (np.count_nonzero(labels) - 1) * (np.count_nonzero(experts) - 1)
    of_label = min(nats / _entropy(labels), 1.0) if np.count_nonzero(labels) > 1 else 0.0
    return Information(float(nats), freedom / (2 * float(total)), float(of_label))


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)))
