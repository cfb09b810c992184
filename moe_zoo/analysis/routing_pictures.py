"""Pictures of the routing of texts, one for each layer, by matplotlib."""

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moe_zoo.files import check_place, write_file

from .expert_table import describe_layer, visible
from .label_counts import count_labels
from .routing import RoutedText

COMPUTED, DROPPED, COLOR_MAP = "#0072b2", "#e69f00", "cividis"  # the color-blind tell them apart


def require_matplotlib() -> Any:
    """Return matplotlib, or raise an `ImportError` that says how to install it."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            f"Expected the package matplotlib, which draws. Received: {error}. Install it: pip "
            "install 'moe-zoo[pictures]'."
        ) from error
    return matplotlib


def write_routing_pictures(
    folder: str | os.PathLike, layers: Mapping[str, RoutedText], top: int = 24
) -> list[Path]:
    """Write `<layer>.png` for each layer: the load of its experts, and what they compute.

    Three panels: the choices of each expert, computed and dropped; the share of each expert of the
    most frequent tokens; and of the tokens by their position in the text.

    Args:
        folder: Destination folder, made if it is missing.
        layers: Routed texts by name of the layer.
        top: How many of the most frequent tokens to show.

    Returns:
        The files written.

    Raises:
        ImportError: If matplotlib is missing.
        OSError: If the folder cannot be written.
    """
    matplotlib = require_matplotlib()
    folder = Path(folder)
    check_place(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in layers.items():
        figure = matplotlib.figure.Figure(figsize=(15, 6), dpi=100, layout="constrained")
        figure.suptitle(describe_layer(name, text), fontsize=11)
        load, tokens, places = figure.subplots(1, 3, width_ratios=(1, 1.2, 1.2))
        _draw_load(load, text)
        _draw_shares(figure, tokens, most_frequent(text, top), "token")
        _draw_shares(figure, places, by_position(text), "position in the text")
        picture = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a box is drawn in its place
            figure.savefig(picture, format="png")
        paths.append(folder / f"{name}.png")
        write_file(paths[-1], picture.getvalue())
    return paths


def most_frequent(text: RoutedText, top: int) -> tuple[np.ndarray, list[str]]:
    """Return the experts' shares of the tokens that occur most.

    Returns:
        `(<float64>[tokens, E], list of str)`, each row sums to 1, and the tokens' texts.
    """
    unique, labels = np.unique(text.ids, return_inverse=True)
    counts = count_labels(text.routed, labels.reshape(-1), len(unique))
    best = np.argsort(-counts.sum(1), kind="stable")[:top]
    best = best[counts.sum(1)[best] > 0]
    pieces = [visible(text.pieces[int(unique[label])]) for label in best]
    return _shares(counts[best]), [piece.replace(" ", "␣") for piece in pieces]


def by_position(text: RoutedText) -> tuple[np.ndarray, list[str]]:
    """Return the experts' shares of the tokens at each position, as `most_frequent` does."""
    rows, length = text.ids.shape
    counts = count_labels(text.routed, np.tile(np.arange(length), rows), length)
    return _shares(counts), [str(position) for position in range(length)]


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _draw_load(axes: Any, text: RoutedText) -> None:
    choices = text.routed.table()
    experts = np.arange(text.routed.num_experts)
    demand, computed = (
        np.bincount(choices["expert"][taken], minlength=len(experts))
        for taken in (np.ones(len(choices["kept"]), bool), choices["kept"])
    )
    axes.barh(experts, computed, color=COMPUTED, label="computed")
    axes.barh(experts, demand - computed, left=computed, color=DROPPED, hatch="//", label="dropped")
    axes.axvline(demand.mean(), color="black", linestyle=":", label="even load")
    axes.set(title="Choices of each expert", xlabel="choices", ylabel="expert")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)


def _draw_shares(
    figure: Any, axes: Any, named_shares: tuple[np.ndarray, list[str]], label: str
) -> None:
    shares, names = named_shares
    image = axes.imshow(shares, cmap=COLOR_MAP, vmin=0, aspect="auto")
    step = max(len(names) // 24, 1)
    axes.set_yticks(
        range(0, len(names), step),
        names[::step],
        family=["monospace", "sans-serif"],
        parse_math=False,
    )
    axes.set(title=f"Share of each expert, by {label}", xlabel="expert", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=axes, label="share of its choices")
