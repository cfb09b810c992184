"""What routing algorithms decide."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from moe_zoo import losses
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
    """Return the K best experts of each token: `<float32>[G, S, E]` -> `<int32>[G, K, S]`."""
    _, index = tf.math.top_k(tf.stop_gradient(scores), top_k)
    return tf.transpose(index, [0, 2, 1])


def scores_of(experts: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Return `<float32>[G, K, S]`, the entries of `scores` `<float32>[G, S, E]` at `experts`."""
    return tf.transpose(pick_scores(scores, tf.transpose(experts, [0, 2, 1])), [0, 2, 1])


def with_balance_loss(choices: Choices, mask: tf.Tensor | None) -> Choices:
    """Return the choices with the balance loss of the first ones, of tokens that are not masked."""

    def balance_loss() -> tf.Tensor:
        return losses.balance_loss(choices.probabilities, choices.experts[:, 0], mask)

    return choices._replace(losses={"balance_loss": balance_loss})
