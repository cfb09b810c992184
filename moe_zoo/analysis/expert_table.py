"""A layer's experts in words: how much each does, and of which tokens."""

from typing import Any

import numpy as np

from moe_zoo.terminal import printable

from .information import mutual_information
from .label_counts import count_labels, top_labels
from .routing import RoutedText


def visible(piece: str) -> str:
    """Return a piece of text on one line, without control characters."""
    return printable(piece.replace("\n", "⏎").replace("\t", "⇥"))


def describe_layer(name: str, text: RoutedText) -> str:
    """Describe a layer in two lines: load, drops, and how much its experts say about tokens.

    Args:
        name: Name of the layer.
        text: Its routing of some texts.
    """
    rows = text.routed.table()
    load = np.bincount(rows["expert"][rows["kept"]], minlength=text.routed.num_experts)
    dropped = f"{1 - rows['kept'].mean():.1%} dropped"
    line = (
        f"{name}: {text.routed.num_experts} experts, {text.routed.real.sum():,} tokens, load CV "
        f"{load.std() / max(load.mean(), 1e-9):.2f}, "
        f"{'run without a capacity' if text.routed.dropless else dropped}, "
        f"{np.sum(load == 0)} without a token"
    )
    if not load.any():
        return line
    ids = np.unique(text.ids, return_inverse=True)[1]
    known = mutual_information(count_labels(text.routed, ids))
    if known.nats <= known.by_chance:
        return f"{line}\n  Too few tokens to see what an expert tells of them."
    return (
        f"{line}\n  An expert tells {known.of_label:.0%} of a token's identity "
        f"({known.nats:.2f} nats; {known.by_chance:.2f} would be chance)."
    )


def expert_rows(text: RoutedText, top: int) -> list[dict[str, Any]]:
    """Return a row for each expert of a layer.

    Args:
        text: The layer's routing of some texts.
        top: Number of tokens to list.

    Returns:
        Of each expert `expert`, `tokens`, its share of all that are computed, the mean `gate` or
        `None`, and `top`, a list of `(piece, times)`.
    """
    unique, ids = np.unique(text.ids, return_inverse=True)
    best = top_labels(count_labels(text.routed, ids, len(unique)), top)
    choices = text.routed.table()
    computed = choices["kept"].sum()
    rows = []
    for expert in range(text.routed.num_experts):
        own = choices["kept"] & (choices["expert"] == expert)
        listed = best["expert"] == expert
        labels, times = best["label"][listed], best["choices"][listed]
        rows.append(
            {
                "expert": expert,
                "tokens": int(own.sum()),
                "share": float(own.sum() / max(computed, 1)),
                "gate": float(choices["gate"][own].mean()) if own.any() else None,
                "top": [
                    (visible(text.pieces[int(unique[label])]), int(number))
                    for label, number in zip(labels, times, strict=True)
                ],
            }
        )
    return rows
