"""Softmax gating: every expert computes every token."""

import keras
import tensorflow as tf

from moe_zoo.plans import DensePlan
from moe_zoo.scopes import GROUP, constrain

from .router import Choices, Router


@keras.saving.register_keras_serializable(package="moe_zoo")
class SoftmaxRouter(Router):
    """Softmax gating: every expert computes every token, weighted by `G(x) = softmax(x W)`.

    The dense mixture of Jordan and Jacobs (1994), equation 2 of Shazeer et al. (2017). It costs E
    times one expert, and serves small mixtures and as the reference for the sparse ones.

    Args:
        **kwargs: arguments of `Router`: `jitter`, `z_loss_weight`, `kernel_initializer`,
            `num_experts`, `seed`, `name`.

    Example:

    >>> router = SoftmaxRouter(num_experts=3)
    >>> plan = router(keras.random.normal((1, 5, 8)))
    >>> tuple(plan.gates.shape)
    (1, 5, 3)
    """

    @property
    def experts_per_token(self):
        return self.num_experts

    def route(self, tokens, mask, training):
        logits = self.logits(tokens)
        gates = tf.nn.softmax(logits)
        return Choices(None, gates, logits, gates, {})

    def plan(self, choices, mask, training):
        gates = choices.gates
        real = tf.ones(tf.shape(gates)[:2], tf.bool) if mask is None else mask
        gates = constrain(tf.where(tf.expand_dims(real, -1), gates, 0.0), GROUP)
        return DensePlan(gates, real, choices.probabilities, choices.losses)
