"""How often each expert computed tokens of each label: a token's id, its position, its class."""

from typing import Any

import numpy as np

from .routing import RoutedTokens


def count_labels(
    routed: RoutedTokens, labels: Any, num_labels: int | None = None, dropped: bool = False
) -> np.ndarray:
    """Count choices by label and expert.

    Args:
        routed: The routed tokens.
        labels: `<int>[...]`, the label of each token, from 0: its id, its position, its class.
        num_labels: Number of labels, L. `None` is the largest label plus 1.
        dropped: Whether to count dropped choices too.

    Returns:
        `<int64>[L, E]`. Divided by the tokens of each label it is their share of each expert, by
        the sum over labels each expert's share of them.

    Raises:
        ValueError: If a label is below 0 or not below L, or there is not one for each token.

    Example:

    >>> experts = np.array([[0], [1], [1]])
    >>> yes = np.ones((3, 1), bool)
    >>> routed = RoutedTokens(experts, yes * 1.0, yes, yes[:, 0], num_experts=2)
    >>> count_labels(routed, [7, 7, 0]).shape, count_labels(routed, [1, 1, 0]).tolist()
    ((8, 2), [[0, 1], [1, 1]])
    """
    rows = routed.table({"label": labels})
    counted = np.ones(len(rows["kept"]), bool) if dropped else rows["kept"]
    label, expert = rows["label"][counted], rows["expert"][counted]
    size = int(label.max(initial=0)) + 1 if num_labels is None else num_labels
    if len(label) and not 0 <= label.min() <= label.max() < size:
        raise ValueError(
            f"Expected labels from 0 to {size - 1}. Received: labels from {label.min()} to "
            f"{label.max()}. Number them from 0 on."
        )
    counts = np.zeros((size, routed.num_experts), np.int64)
    np.add.at(counts, (label, expert), 1)
    return counts


def top_labels(counts: Any, count: int = 10) -> dict[str, np.ndarray]:
    """Return the labels that each expert computed most, as in table 9 of Shazeer et al. (2017).

    Args:
        counts: `<int>[L, E]`, as `count_labels` returns them.
        count: Most labels of an expert.

    Returns:
        Columns, which `pandas.DataFrame` takes as it is, ordered by expert and rank:
        `expert`, `rank` from 0, `label`, `choices`, `of_expert`, the share of the expert's choices,
        and `of_label`, the share of the label's. Of equal counts the lower label comes first.

    Example:

    >>> table = top_labels(np.array([[3, 0], [1, 4]]), count=1)
    >>> table["label"].tolist(), table["of_expert"].tolist()
    ([0, 1], [0.75, 1.0])
    """
    counts = np.asarray(counts)
    order = np.argsort(-counts, axis=0, kind="stable")[:count]  # [ranks, E]
    rank, expert = np.nonzero(np.take_along_axis(counts, order, axis=0))
    by_expert = np.lexsort((rank, expert))
    rank, expert = rank[by_expert], expert[by_expert]
    label = order[rank, expert]
    choices = counts[label, expert]
    return {
        "expert": expert,
        "rank": rank,
        "label": label,
        "choices": choices,
        "of_expert": choices / counts.sum(0)[expert],
        "of_label": choices / counts.sum(1)[label],
    }
