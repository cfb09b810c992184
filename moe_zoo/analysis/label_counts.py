"""How often each expert computed tokens of each label: a token's id, its position, its class."""

import numpy as np


def count_labels(routed, labels, num_labels=None, dropped=False):
    """Choices by label and expert.

    Args:
        routed: `RoutedTokens`.
        labels: `<int>[...]`, the label of each token, from 0: its id, its position, its class.
        num_labels: `int`, L; the largest label and 1 if not given.
        dropped: `bool`, count what tokens asked for, in place of what experts computed.

    Returns:
        `<int64>[L, E]`. Divided by the tokens of each label it is their share of each expert, by
        the sum over labels each expert's share of them.

    Raises:
        ValueError: labels below 0, from L on, or not one for each token.

    Example:

    >>> from moe_zoo.analysis.routing import RoutedTokens
    >>> experts = np.array([[0], [1], [1]])
    >>> yes = np.ones((3, 1), bool)
    >>> routed = RoutedTokens(experts, yes * 1.0, yes, yes[:, 0], num_experts=2)
    >>> count_labels(routed, [7, 7, 0]).shape, count_labels(routed, [1, 1, 0]).tolist()
    ((8, 2), [[0, 1], [1, 1]])
    """
    rows = routed.table(label=labels)
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


def top_labels(counts, count=10):
    """The labels that each expert computed most, as in table 9 of Shazeer et al. (2017).

    Args:
        counts: `<int>[L, E]`, as `count_labels` gives them.
        count: `int`, labels of an expert at most.

    Returns:
        `dict` of columns, which `pandas.DataFrame` takes as it is, ordered by expert and rank:
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
