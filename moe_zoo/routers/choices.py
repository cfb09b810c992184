"""What routing algorithms decide."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from moe_zoo.plans.gathers import pick_scores


class Choices(NamedTuple):
    """What a routing algorithm decides, before any slot is given.

    Fields:
        experts: `<int32>[G, K, S]`, the expert of each choice; E where the token asks for none.
            `None` if every token goes to every expert.
        gates: `<float32>[G, K, S]`, the weight of that expert's output; `<float32>[G, S, E]`
            without choice.
        logits: `<float32>[G, S, E]`, without noise.
        probabilities: `<float32>[G, S, E]`, softmax of the logits.
        losses: `dict` by name of functions that return an auxiliary loss `<float32>[]`, unweighted;
            in the choices that become a plan, of the weighted losses.
    """

    experts: tf.Tensor
    gates: tf.Tensor
    logits: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, Callable[[], tf.Tensor] | tf.Tensor]


def top_experts(scores: tf.Tensor, top_k: int) -> tf.Tensor:
    """`<float32>[G, S, E]` -> `<int32>[G, K, S]`, the K best experts of each token, best first."""
    _, index = tf.math.top_k(tf.stop_gradient(scores), top_k)
    return tf.transpose(index, [0, 2, 1])


def scores_of(experts: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """`<float32>[G, K, S]`, the entries of `scores` (`<float32>[G, S, E]`) at `experts`."""
    return tf.transpose(pick_scores(scores, tf.transpose(experts, [0, 2, 1])), [0, 2, 1])
