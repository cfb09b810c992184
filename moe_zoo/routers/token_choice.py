"""The base of routers in which each token chooses its experts."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.plans import Plan, expert_capacity, plan_dropless, plan_with_capacity
from moe_zoo.plans.gathers import shape_of
from moe_zoo.validation import check_bool, check_factor, check_int

from .choices import Choices
from .router import Router


def coarse(gates: tf.Tensor) -> tf.Tensor:
    """Round the gates to steps of 2^-16, so that those that differ by rounding alone are equal.

    TensorFlow's softmax rounds by the place in the batch: of one expert it is 1 or 0.99999994.

    Example:

    >>> coarse(tf.constant([0.75, 1.0, 0.99999994])).numpy().tolist()
    [49152.0, 65536.0, 65536.0]
    """
    return tf.round(gates * 2.0**16)


class TokenChoiceRouter(Router):
    """A router in which each token chooses K experts, under a capacity or without.

    Subclasses fill in `route`.

    Args:
        top_k: `int`, K, experts per token.
        capacity_factor: `float` or `None`, slots of an expert over its fair share of the choices in
            training; `None` is dropless, which XLA and DTensor cannot run.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        min_capacity: `int`, the least number of slots of an expert in a group.
        expert_capacity: `int` or `None`, slots of an expert in a group whatever its size, in
            training and evaluation, in place of the factors.
        batch_priority: `bool`, tokens with the largest gate get their slots first, instead of token
            order (Riquelme et al. 2021), in which those with equal gates follow each other. A
            token's place then depends on later tokens: not for a causal model.
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
    """

    def __init__(
        self,
        top_k: int,
        capacity_factor: float | None = 1.25,
        eval_capacity_factor: float | None = 2.0,
        min_capacity: int = 4,
        expert_capacity: int | None = None,
        batch_priority: bool = False,
        jitter: float = 0.0,
        z_loss_weight: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        num_experts: int | None = None,
        route_padding: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            jitter=jitter,
            z_loss_weight=z_loss_weight,
            kernel_initializer=kernel_initializer,
            num_experts=num_experts,
            route_padding=route_padding,
            seed=seed,
            name=name,
            **kwargs,
        )
        self.top_k = check_int("top_k", top_k, least=1)
        self.capacity_factor = check_factor("capacity_factor", capacity_factor)
        self.eval_capacity_factor = check_factor("eval_capacity_factor", eval_capacity_factor)
        self.min_capacity = check_int("min_capacity", min_capacity, least=1)
        if expert_capacity is not None:
            expert_capacity = check_int("expert_capacity", expert_capacity, least=1)
        self.expert_capacity = expert_capacity
        self.batch_priority = check_bool("batch_priority", batch_priority)
        self.supports_jit = not (self.dropless(training=True) or self.dropless(training=False))

    def dropless(self, training: bool) -> bool:
        factor = self.capacity_factor if training else self.eval_capacity_factor
        return self.expert_capacity is None and factor is None

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        factor, self.eval_capacity_factor = self.eval_capacity_factor, None
        try:
            yield
        finally:
            self.eval_capacity_factor = factor

    def plan(self, choices: Choices, mask: tf.Tensor | None, training: bool | None) -> Plan:
        if mask is not None:
            unmasked = tf.expand_dims(mask, 1)
            choices = choices._replace(
                experts=tf.where(unmasked, choices.experts, self.num_experts),
                gates=tf.where(unmasked, choices.gates, 0.0),
            )
        priority = coarse(tf.reduce_max(choices.gates, 1)) if self.batch_priority else None
        size = shape_of(choices.experts)[2]
        if self.expert_capacity is not None:
            known = isinstance(size, int)
            capacity = (min if known else tf.minimum)(size, self.expert_capacity)
            return plan_with_capacity(choices, self.num_experts, capacity, priority=priority)
        factor = self.capacity_factor if training else self.eval_capacity_factor
        if factor is None:
            return plan_dropless(choices, self.num_experts)
        sizing = (self.num_experts, self.top_k, factor, self.min_capacity)
        limit = None
        if mask is not None:  # padding must not buy slots for real tokens
            limit = expert_capacity(tf.reduce_sum(tf.cast(mask, tf.int32), -1), *sizing)
        capacity = expert_capacity(size, *sizing)
        return plan_with_capacity(choices, self.num_experts, capacity, limit, priority)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "capacity_factor": self.capacity_factor,
            "eval_capacity_factor": self.eval_capacity_factor,
            "min_capacity": self.min_capacity,
            "expert_capacity": self.expert_capacity,
            "batch_priority": self.batch_priority,
        }
