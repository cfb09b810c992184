"""The multi-gate mixture of experts, and the one-gate mixture."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.experts import Experts
from moe_zoo.gates import Gate, SoftmaxGate
from moe_zoo.parts import take_parts
from moe_zoo.plans import EveryRow
from moe_zoo.plans.dense import weighted_sum
from moe_zoo.validation import check_bool, check_part

from .task_mixing import TaskMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class MMoE(TaskMixing):
    """The multi-gate mixture of experts: shared experts, and for each task a gate of its own.

    `f^t(x) = sum_e g^t(x)_e f_e(x)`, section 4.2 of Ma et al. (2018). Every expert computes every
    row, by one product for all of them. The tower `h^t` of a task is not part of the layer.

    With `shared_gate=True` it is the one-gate mixture (OMoE, section 4.1), the paper's control:
    one gate and so one representation `f^t(x) = f(x)` for all tasks. Its statistics have one entry,
    under the layer's own name.

    Args:
        experts: experts, such as `MLPExperts(8, (16,))`.
        gate: a gate; `None` is `SoftmaxGate()`, the paper's.
        shared_gate: `bool`, one gate for all tasks.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Call arguments:
        inputs: `<float>[B, D]`.
        training: `bool`.

    Returns:
        `<float>[B, T, U]`, U the experts' output width.

    Raises:
        ValueError: If a size is not positive, experts or gate belong to another layer, or inputs
            are not `[B, D]`.

    Example:

    >>> from moe_zoo.experts import MLPExperts
    >>> layer = MMoE(MLPExperts(8, (16,)), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 16)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.

    Differs from the paper in: experts and gates of other forms, where they are given.
    """

    has_gates = True

    def __init__(
        self,
        experts: Experts,
        gate: Gate | None = None,
        shared_gate: bool = False,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_tasks=num_tasks, task_names=task_names, name=name, **kwargs)
        self.experts = check_part("experts", experts, Experts, "MLPExperts(8, (16,))")
        gate = SoftmaxGate() if gate is None else gate
        self.gate = check_part("gate", gate, Gate, "SoftmaxGate()")
        self.shared_gate = check_bool("shared_gate", shared_gate)
        self.size_parts()
        take_parts(self, experts=experts, gate=self.gate)

    def size_parts(self) -> None:
        if self.num_tasks is not None:
            gates = 1 if self.shared_gate else self.num_tasks
            self.gate.set_sizes(gates, self.experts.num_experts)

    def build_mixing(self, width: int) -> None:
        for part in (self.experts, self.gate):
            if not part.built:  # a revived part comes built
                part.build((None, width))
        loss_names = self.gate.active_losses()
        self.add_statistics(self.experts.num_experts, loss_names, one_gate=self.shared_gate)

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        gates = self.gate(rows, training=training)  # [B, T or 1, E]
        outputs = self.experts(rows, layout=EveryRow(), training=training)  # [B, E, U]
        mixed = weighted_sum(gates.gates, outputs)
        return tf.tile(mixed, [1, self.num_tasks, 1]) if self.shared_gate else mixed, gates

    def output_dim(self, width: int) -> int:
        return self.experts.compute_output_shape((None, width))[-1]

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "experts": keras.saving.serialize_keras_object(self.experts),
            "gate": keras.saving.serialize_keras_object(self.gate),
            "shared_gate": self.shared_gate,
        }
