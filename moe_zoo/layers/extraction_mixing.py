"""The base of CGC and PLE: levels of extraction, one after the other."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.clones import reseeded
from moe_zoo.experts import Experts
from moe_zoo.gates import Gate, SoftmaxGate
from moe_zoo.validation import check_int, check_part

from .extraction import Extraction, add_losses
from .task_mixing import TaskMixing


class ExtractionMixing(TaskMixing):
    """Levels of experts of tasks and experts of all. Subclasses say how many levels.

    Args:
        task_experts: experts of each task; `num_experts` counts those of one.
        shared_experts: experts of all tasks, of the same width.
        gate: a gate; `None` is `SoftmaxGate()`.
        levels: `int`.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.
    """

    has_gates = True

    def __init__(
        self,
        task_experts: Experts,
        shared_experts: Experts,
        gate: Gate | None,
        levels: int,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_tasks=num_tasks, task_names=task_names, name=name, **kwargs)
        self.num_levels = check_int("levels", levels, least=1)
        gate = SoftmaxGate() if gate is None else gate
        check_part("task_experts", task_experts, Experts, "MLPExperts(4, (16,))")
        check_part("shared_experts", shared_experts, Experts, "MLPExperts(4, (16,))")
        check_part("gate", gate, Gate, "SoftmaxGate()")
        # In a function, since Keras would take them for parts: levels have clones of them.
        self._templates = lambda: (task_experts, shared_experts, gate)
        self.levels: list[Extraction] = []
        self.size_parts()

    def size_parts(self) -> None:
        if self.num_tasks is not None:
            self.levels = [
                Extraction(
                    self.num_tasks,
                    *self._templates(),
                    level=level,
                    has_shared_gate=level + 1 < self.num_levels,
                    dtype=self.dtype_policy,
                )
                for level in range(self.num_levels)
            ]

    def build_mixing(self, width: int) -> None:
        for level in self.levels:
            shapes = [x.compute_output_shape((None, width)) for x in self._experts(level)]
            if shapes[0][-1] != shapes[1][-1]:
                raise ValueError(
                    "Expected experts of tasks and of all with one output width. Received: "
                    f"task_experts of {shapes[0][-1]}, shared_experts of {shapes[1][-1]}. Change "
                    "the one or the other."
                )
            level.build((None, width))
            width = shapes[0][-1]
        losses = [gate.active_losses() for level in self.levels for gate in level.gates()]
        last = self.levels[-1].gate
        self.add_statistics(last.num_experts, dict.fromkeys(sum(losses, ())))

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        task_rows = shared_rows = rows
        losses: dict = {}
        for level in self.levels:
            task_rows, shared_rows, gates = level(task_rows, shared_rows, training=training)
            losses = add_losses(losses, gates.losses)
        return task_rows, gates._replace(losses=losses)

    def output_dim(self, width: int) -> int:
        _, shared_experts, _ = self._templates()
        for _ in range(self.num_levels):
            width = shared_experts.compute_output_shape((None, width))[-1]
        return width

    def get_config(self) -> dict:
        parts, shared = self._templates(), 0
        if self.levels:
            parts = (*self._experts(self.levels[0]), self.levels[0].gate)
            shared = self.num_tasks  # the number of the clone; the others are clone 0
        task_experts, shared_experts, gate = map(keras.saving.serialize_keras_object, parts)
        return {
            **super().get_config(),
            "task_experts": reseeded(task_experts, 0),  # templates have no weights to build
            "shared_experts": reseeded(shared_experts, -shared),
            "gate": reseeded(gate, 0),
        }

    @staticmethod
    def _experts(level: Extraction) -> tuple[Experts, Experts]:
        return level.task_experts[0], level.shared_experts
