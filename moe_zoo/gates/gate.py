"""The base of all gates."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from moe_zoo.experts.stacked_dense import StackedDense
from moe_zoo.plans import EveryRow
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.routers.scorer import Scorer, check_finite, on_each_device
from moe_zoo.scopes import GROUP, constrain
from moe_zoo.validation import (
    check_int,
    check_positive,
    check_rate,
    check_sizes,
)


class Gates(NamedTuple):
    """How much of each expert each task takes of each row. B rows, T tasks, E experts.

    Fields:
        gates: `<float32>[B, T, E]`, weights of the experts' outputs.
        probabilities: `<float32>[B, T, E]`, a distribution over the experts, for its entropy.
        losses: `dict` of `<float32>[]`, weighted auxiliary losses of all tasks by name; as `select`
            returns them functions of the unweighted ones.
    """

    gates: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, Callable[[], tf.Tensor] | tf.Tensor]


def drop_experts(gates: tf.Tensor, rate: float, seed: Any) -> tf.Tensor:
    """Leave whole experts out, others for each task, and let the rest sum to what all did.

    `g_te <- g_te m_te sum_j g_tj / sum_j g_tj m_tj` with one mask `m` for all rows. An expert is
    kept with probability `1 - rate`; if that leaves a task none, one of them. A row whose experts
    are all left out takes the kept ones equally.

    Args:
        gates: `<float32>[B, T, E]`.
        rate: `float`.
        seed: `<int>[2]`.

    Returns:
        `<float32>[B, T, E]`.

    Example:

    >>> gates = drop_experts(tf.fill([3, 2, 4], 0.25), rate=0.9, seed=[1, 2])
    >>> tf.reduce_sum(gates, -1).numpy().tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """
    draws = on_each_device(tf.random.stateless_uniform(gates.shape[1:], seed))
    best = tf.reduce_max(draws, -1, keepdims=True)
    mask = tf.cast(tf.logical_or(draws >= rate, draws == best), tf.float32)  # [T, E]
    kept = gates * mask
    total, left = (tf.reduce_sum(x, -1, keepdims=True) for x in (gates, kept))
    some = left > 1e-30
    scale = total / tf.where(some, left, 1.0)
    equally = mask / tf.reduce_sum(mask, -1, keepdims=True)
    return tf.where(some, kept * scale, total * equally)


class Gate(Scorer):
    """Weighs the experts for each task. Subclasses fill in `num_logits` and `select`.

    The networks of all tasks are stacked; linear ones are one product `[B, D] x [D, T * E]`.

    Args:
        hidden_dims: units of hidden ReLU layers, of a network for each task; none is a linear gate.
        temperature: `float`, divides the logits: below 1 gates are sharper, above 1 more even.
        dropout: `float`, chance of an expert to be left out of a task's mixture, in training; one
            mask for all rows of a batch, never all experts, the others' gates grow to the same sum.
        use_bias: `bool`.
        kernel_initializer: Keras initializer; each task is drawn as it would be alone.
        num_tasks: `int`, T. The layer that owns the gate sets it; give it to use a gate alone.
        num_experts: `int`, E, likewise.
        seed: `int` or `None`, of dropout and noise.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Call arguments:
        inputs: `<float>[B, D]`, or `<float>[B, T, D]` where each task has its own.
        training: `bool`.

    Returns:
        `Gates`.
    """

    num_tasks: Any  # `int`; it and `num_experts` are `None` as long as they are not known
    num_experts: Any
    top_k = 1
    per_example = True  # whether gates depend on the row

    def __init__(
        self,
        hidden_dims: Sequence[int] = (),
        temperature: float = 1.0,
        dropout: float = 0.0,
        use_bias: bool = False,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        num_tasks: int | None = None,
        num_experts: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(kernel_initializer, seed, name, **kwargs)
        self.hidden_dims = check_sizes("hidden_dims", hidden_dims, least=0)
        self.temperature = check_positive("temperature", temperature)
        self.dropout = check_rate("dropout", dropout)
        self.dense = StackedDense(use_bias, self.kernel_initializer)
        self.num_tasks = None if num_tasks is None else check_int("num_tasks", num_tasks, 1)
        self.num_experts = None if num_experts is None else check_int("num_experts", num_experts, 1)

    def set_sizes(self, num_tasks: int, num_experts: int) -> None:
        """Fix T and E, as the layer that owns the gate does.

        Args:
            num_tasks: `int`, T.
            num_experts: `int`, E.

        Raises:
            ValueError: If they are fixed to other numbers, or E is below `top_k`.
        """
        if self.num_tasks not in (None, num_tasks) or self.num_experts not in (None, num_experts):
            raise ValueError(
                f"Expected a gate for num_tasks={num_tasks} and num_experts={num_experts}. "
                f"Received: a gate whose num_tasks={self.num_tasks}, "
                f"num_experts={self.num_experts}. Give each layer a gate of its own."
            )
        if self.top_k > num_experts:
            raise ValueError(
                f"Expected top_k <= num_experts. Received: top_k={self.top_k}, "
                f"num_experts={num_experts}. Lower top_k or add experts."
            )
        self.num_tasks, self.num_experts = num_tasks, num_experts

    def build(self, input_shape: tuple) -> None:
        if None in (self.num_tasks, self.num_experts):
            raise ValueError(
                "Expected a gate that knows its tasks and experts. Received: "
                f"num_tasks={self.num_tasks}, num_experts={self.num_experts}. Put it into a layer "
                "such as MMoE, or give both to use it alone."
            )
        self.set_sizes(self.num_tasks, self.num_experts)
        width = input_shape[-1] if self.per_example else 1
        widths = (width, *self.hidden_dims, self.num_logits())
        self.layers_weights = self.dense.add_layers(self, self.num_tasks, widths)

    def num_logits(self) -> int:
        """Return how many numbers the network of a task has to give."""
        raise NotImplementedError(f"{type(self).__name__} has to define num_logits().")

    def select(self, logits: tf.Tensor, hidden: tf.Tensor, training: bool | None) -> Gates:
        """Return the gates of `<float32>[B, T, L]` logits, which are linear in `hidden`."""
        raise NotImplementedError(f"{type(self).__name__} has to define select().")

    def call(self, inputs: tf.Tensor, training: bool | None = False) -> Gates:
        if training:
            refuse_recomputing(self)
        layout, hidden = EveryRow(), tf.cast(inputs, tf.float32)
        if not self.per_example:
            hidden = tf.ones_like(hidden[..., :1])
        for kernel, bias in self.layers_weights[:-1]:
            hidden = tf.nn.relu(layout.dense(hidden, kernel, bias))
        kernel, bias = self.layers_weights[-1]
        logits = layout.dense(hidden, kernel, bias) / self.temperature
        logits = constrain(logits, GROUP)
        selected = self.select(logits, hidden, training)
        gates = check_finite("gate", logits, selected.gates, self.path)
        if training and self.dropout:
            gates = drop_experts(gates, self.dropout, self.seed_generator.next())
        return Gates(
            constrain(gates, GROUP),
            constrain(selected.probabilities, GROUP),
            self.add_losses(selected.losses, training),
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "temperature": self.temperature,
            "dropout": self.dropout,
            "use_bias": self.dense.use_bias,
            "num_tasks": self.num_tasks,
            "num_experts": self.num_experts,
        }
