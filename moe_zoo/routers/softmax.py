"""Softmax gating: every expert computes every token."""

import keras
import tensorflow as tf

from moe_zoo.plans import DensePlan, Plan
from moe_zoo.scopes import GROUP, constrain

from .choices import Choices
from .router import Router


@keras.saving.register_keras_serializable(package="moe_zoo")
class SoftmaxRouter(Router):
    """Softmax gating: every expert computes every token, weighted by `G(x) = softmax(x W)`.

    The dense mixture of Jordan and Jacobs (1994), equation 2 of Shazeer et al. (2017). It costs E
    times one expert, and serves small mixtures and as the reference for the sparse ones.

    Args:
        jitter: `float`, relative width of the multiplicative noise on the router's own input, in
            training.
        z_loss_weight: `float`, weight of the z-loss (Zoph et al. 2022).
        kernel_initializer: Keras initializer of the gate matrix.
        num_experts: `int`, E. An `MoE` layer sets it; give it to use a router alone.
        route_padding: `bool`, masked tokens are routed like all others: they take slots and count
            in losses and statistics.
        seed: `int` or `None`, of all that is drawn.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Example:

    >>> router = SoftmaxRouter(num_experts=3)
    >>> plan = router(keras.random.normal((1, 5, 8)))
    >>> tuple(plan.gates.shape)
    (1, 5, 3)
    """

    @property
    def experts_per_token(self) -> int:
        return self.num_experts

    def route(self, tokens: tf.Tensor, mask: tf.Tensor | None, training: bool | None) -> Choices:
        logits = self.logits(tokens)
        gates = tf.nn.softmax(logits)
        return Choices(None, gates, logits, gates, {})

    def plan(self, choices: Choices, mask: tf.Tensor | None, training: bool | None) -> Plan:
        gates = choices.gates
        mask = tf.ones(tf.shape(gates)[:2], tf.bool) if mask is None else mask
        gates = constrain(tf.where(tf.expand_dims(mask, -1), gates, 0.0), GROUP)
        return DensePlan(gates, mask, choices.probabilities, choices.losses)
