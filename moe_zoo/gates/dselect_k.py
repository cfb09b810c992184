"""DSelect-k gates: sparse and yet smooth."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.plans.gathers import shape_of
from moe_zoo.validation import check_at_least, check_bool, check_int, check_positive

from .gate import Gate, Gates

LEAST_REACH = 1e-6  # keeps the penalty finite for a code that selects no expert


def smooth_step(values: tf.Tensor, gamma: float = 1.0) -> tf.Tensor:
    """Compute `S(t)`: 0 below `-gamma / 2`, 1 above `gamma / 2`, a smooth cubic between.

    `S(t) = -2 t^3 / gamma^3 + 3 t / (2 gamma) + 1 / 2`, for t between.

    Args:
        values: `<float32>[...]`.
        gamma: `float`, width of the step.

    Example:

    >>> smooth_step(tf.constant([-0.5, 0.0, 0.25, 3.0])).numpy().tolist()
    [0.0, 0.5, 0.84375, 1.0]
    """
    # In units of gamma, so that float32 gives exactly 0 and 1 at the ends, and nothing beyond them.
    t = tf.clip_by_value(values / gamma, -0.5, 0.5)
    return -2.0 * t**3 + 1.5 * t + 0.5


def select_by_code(codes: tf.Tensor, num_experts: int, gamma: float = 1.0) -> tf.Tensor:
    """Compute single-expert selectors `r_e(z)`, one factor for each bit b of e.

    The factor is `S(z_b)` where the bit is 1, else `1 - S(z_b)`. With all `|z_b| >= gamma / 2` the
    selector is one-hot. Codes beyond the last expert select none.

    Args:
        codes: `<float32>[..., m]`, with `2^m >= E`.
        num_experts: `int`, E.
        gamma: `float`.

    Returns:
        `<float32>[..., E]`.
    """
    steps = smooth_step(codes, gamma)
    experts = np.arange(num_experts)
    selected = tf.ones_like(tf.reduce_sum(codes, -1, keepdims=True))
    for bit in range(codes.shape[-1]):
        step = steps[..., bit : bit + 1]
        selected *= tf.where((experts >> bit) % 2 == 1, step, 1.0 - step)
    return selected


@keras.saving.register_keras_serializable(package="moe_zoo")
class DSelectKGate(Gate):
    """DSelect-k gates: at most K experts for each task, selected by smooth binary codes.

    `q(x) = sum_i softmax(alpha(x))_i r(z_i(x))` (Hazimeh et al. 2021): K selectors, each a product
    of smooth steps that is one-hot once its code has left the step, so that training ends sparse
    without a jump on the way. `alpha` and `z` are linear in the row, or free of it. The losses are
    `entropy_loss_weight` times the entropy of the selectors, a sum over tasks and selectors and a
    mean over rows, which makes them one-hot, and where E is no power of 2 `reach_loss_weight` times
    `1 / sum_e r_e`, against codes of no expert.

    Args:
        top_k: `int`, K, selectors of a task.
        gamma: `float`, width of the step.
        entropy_loss_weight: `float`.
        reach_loss_weight: `float`.
        per_example: `bool`; false for gates that do not depend on the row.
        kernel_initializer: Keras initializer; `None` is uniform within `gamma / 100`, so that all
            steps start half way.
        hidden_dims: units of hidden ReLU layers, of a network for each task; none is a linear gate.
        temperature: `float`, divides the logits: below 1 gates are sharper, above 1 more even.
        dropout: `float`, chance of an expert to be left out of a task's mixture, in training; one
            mask for all rows of a batch, never all experts, the others' gates grow to the same sum.
        use_bias: `bool`.
        num_tasks: `int`, T. The layer that owns the gate sets it; give it to use a gate alone.
        num_experts: `int`, E, likewise.
        seed: `int` or `None`, of dropout and noise.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If a size, `gamma` or temperature is not positive, a weight is negative,
            `top_k > num_experts`, or there are hidden layers without `per_example`.

    Example:

    >>> gate = DSelectKGate(top_k=2, num_tasks=3, num_experts=4)
    >>> gates = gate(keras.random.normal((7, 8))).gates
    >>> bool(tf.reduce_all(tf.abs(tf.reduce_sum(gates, -1) - 1.0) < 1e-5))
    True

    Reference: Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with
        Applications to Multi-Task Learning", NeurIPS 2021, arXiv 2106.03760.

    Differs from the paper in: constant weights of the losses; `alpha` that starts as `z` does;
    temperature, hidden layers, dropout and bias, off by default.
    """

    loss_names = ("entropy_loss", "reach_loss")

    def __init__(
        self,
        top_k: int = 2,
        gamma: float = 1.0,
        entropy_loss_weight: float = 1e-6,
        reach_loss_weight: float = 1e-6,
        per_example: bool = True,
        kernel_initializer: str | keras.initializers.Initializer | None = None,
        hidden_dims: Sequence[int] = (),
        temperature: float = 1.0,
        dropout: float = 0.0,
        use_bias: bool = False,
        num_tasks: int | None = None,
        num_experts: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        self.gamma = check_positive("gamma", gamma)
        start = keras.initializers.RandomUniform(-self.gamma / 100.0, self.gamma / 100.0)
        super().__init__(
            hidden_dims=hidden_dims,
            temperature=temperature,
            dropout=dropout,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer or start,
            num_tasks=num_tasks,
            num_experts=num_experts,
            seed=seed,
            name=name,
            **kwargs,
        )
        self.top_k = check_int("top_k", top_k, least=1)
        self.entropy_loss_weight = check_at_least("entropy_loss_weight", entropy_loss_weight, 0.0)
        self.reach_loss_weight = check_at_least("reach_loss_weight", reach_loss_weight, 0.0)
        self.per_example = check_bool("per_example", per_example)
        if self.hidden_dims and not self.per_example:
            raise ValueError(
                "Expected per_example=True for gates with hidden layers. Received: "
                f"per_example={per_example}, hidden_dims={self.hidden_dims}. Leave them out for "
                "gates that do not depend on the row."
            )

    def num_bits(self) -> int:
        """Return the bits of a code: the least m with `2^m >= E`."""
        return ((self.num_experts or 1) - 1).bit_length()

    def num_logits(self) -> int:
        return self.top_k * (1 + self.num_bits())

    def select(self, logits: tf.Tensor, hidden: tf.Tensor, training: bool | None) -> Gates:
        weights = tf.nn.softmax(logits[..., : self.top_k])  # [B, T, K]
        shape = [*shape_of(logits)[:2], self.top_k, self.num_bits()]
        codes = tf.reshape(logits[..., self.top_k :], shape)
        selectors = select_by_code(codes, self.num_experts, self.gamma)  # [B, T, K, E]
        gates = tf.reduce_sum(tf.expand_dims(weights, -1) * selectors, 2)

        def entropy_loss() -> tf.Tensor:
            return _mean_over_rows(-tf.reduce_sum(tf.math.xlogy(selectors, selectors), -1))

        def reach_loss() -> tf.Tensor:
            return _mean_over_rows(1.0 / (tf.reduce_sum(selectors, -1) + LEAST_REACH))

        auxiliary = {"entropy_loss": entropy_loss}
        if 2 ** self.num_bits() != self.num_experts:
            auxiliary["reach_loss"] = reach_loss
        reached = tf.reduce_sum(gates, -1, keepdims=True)  # below 1 as long as codes miss experts
        return Gates(gates, tf.math.divide_no_nan(gates, reached), auxiliary)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "gamma": self.gamma,
            "entropy_loss_weight": self.entropy_loss_weight,
            "reach_loss_weight": self.reach_loss_weight,
            "per_example": self.per_example,
        }


def _mean_over_rows(values: tf.Tensor) -> tf.Tensor:
    """Mean of `<float32>[B, T, K]` over rows, summed over tasks and selectors; 0 without rows."""
    rows = tf.cast(tf.shape(values)[0], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values), rows)
