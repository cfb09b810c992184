"""The protocol of routing plans.

Axis letters, here and everywhere in the library:

    G groups    S tokens in a group    D model width    E experts
    K choices of a token (`top_k`)     C capacity of an expert within a group    F hidden width

A plan is made of integers: every choice of a token knows its slot, and every slot knows its token,
so that dispatch and combine are gathers, and so are their gradients. No tensor of tokens x experts
x capacity is ever built.
"""

from typing import Protocol

import numpy as np
import tensorflow as tf

from .layouts import Layout


class Plan(Protocol):
    """Which expert computes which token, and how tokens travel there and back.

    Every plan is a NamedTuple of tensors, so that a `tf.function` can return it.

    Attributes:
        gates: `<float32>[G, K, S]`, or `<float32>[G, S, E]` if every expert computes every token.
        probabilities: `<float32>[G, S, E]`, the router's distribution over all experts.
        losses: `dict` of `<float32>[]`, the weighted auxiliary losses by name.
        layout: how rows lie before the experts.
        dropless: `bool`, whether the experts have no capacity.
    """

    @property
    def gates(self) -> tf.Tensor: ...

    @property
    def probabilities(self) -> tf.Tensor: ...

    @property
    def losses(self) -> dict[str, tf.Tensor]: ...

    @property
    def layout(self) -> Layout: ...

    @property
    def dropless(self) -> bool: ...

    def dispatch(self, tokens: tf.Tensor) -> tf.Tensor:
        """Move `<dtype>[G, S, D]` tokens to rows of the layout; an empty row is zeros."""

    def combine(self, outputs: tf.Tensor) -> tf.Tensor:
        """Sum the experts' outputs by gate: rows of the layout -> `<dtype>[G, S, F]`."""

    def load(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that each expert computes."""

    def demand(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that asked for each expert, dropped ones included."""

    def importance(self) -> tf.Tensor:
        """Return `<float32>[E]`, the sum of each expert's gates, before any drop."""

    def token_mask(self) -> tf.Tensor:
        """Return `<bool>[G, S]`, true for tokens that are not masked."""

    def pairs(self) -> tf.Tensor:
        """Return `<float32>[E, E]`, tokens that ask for two experts.

        A pair is counted above the diagonal or below it: with the transpose added, each is counted
        in both places.
        """

    def choices(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return `(experts, gates, kept)`: `<int32>`, `<float32>` and `<bool>[G, K, S]`.

        An expert is E where a token asks for none.
        """


def importance(gates: tf.Tensor, experts: tf.Tensor, num_experts: int) -> tf.Tensor:
    """Return the importance of each expert: the sum of its gates (Shazeer et al. 2017, eq. 6).

    Args:
        gates: `<float32>[G, K, S]`.
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `<float32>[E]`.
    """
    sums = tf.math.unsorted_segment_sum(
        tf.reshape(gates, [-1]), tf.reshape(experts, [-1]), num_experts + 1
    )
    return sums[:num_experts]


def pairs(experts: tf.Tensor, num_experts: int) -> tf.Tensor:
    """Count the tokens that ask for two experts at once, by one scatter of all pairs of choices.

    Args:
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `<float32>[E, E]`, at `[i, j]` the tokens with an earlier choice i and a later one j.
    """
    earlier, later = np.triu_indices(experts.shape[1], 1)
    cells = tf.gather(experts, earlier, axis=1) * (num_experts + 1) + tf.gather(
        experts, later, axis=1
    )
    cells = tf.reshape(cells, [-1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(cells, tf.float32), cells, (num_experts + 1) ** 2
    )
    return tf.reshape(counts, [num_experts + 1, num_experts + 1])[:num_experts, :num_experts]
