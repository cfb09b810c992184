"""One level of experts of tasks and experts of all."""

from typing import Any

import tensorflow as tf

from moe_zoo.clones import cloned
from moe_zoo.experts import Experts
from moe_zoo.gates import Gate, Gates
from moe_zoo.plans import EveryRow
from moe_zoo.plans.dense import weighted_sum
from moe_zoo.recomputing import RecomputedPart


def add_losses(first: dict, second: dict) -> dict:
    """Add two `dict` of losses by name; a loss may be in one of them alone."""
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in {**first, **second}}


class Extraction(RecomputedPart):
    """Experts of each task, experts of all, and a gate for each task over its own and the shared.

    `y^t = w^t(x^t) S^t`, where `S^t` stacks what the experts of task t make of `x^t` and then what
    the shared ones make of `x^s`, section 4.1 of Tang et al. (2020). With a shared gate also
    `y^s = w^s(x^s) S^s`, where `S^s` stacks the outputs of all experts of the level, those of task
    0 first and the shared ones last.

    Args:
        num_tasks: `int`, T.
        task_experts: experts of one task; each task gets a clone.
        shared_experts: experts, of which the level gets a clone.
        gate: a gate, of which the level gets a clone, and another one as the shared gate.
        level: `int`, number of the level, for names and seeds.
        has_shared_gate: `bool`.
        **kwargs: `dtype`.

    Call arguments:
        task_rows: `<dtype>[B, D]`, or `<dtype>[B, T, D]` where each task has its own.
        shared_rows: `<dtype>[B, D]`.
        training: `bool`.

    Returns:
        `(<float32>[B, T, U], <float32>[B, U] or None, Gates)`, the gates those of the tasks, with
        the losses of the shared gate among them.
    """

    def __init__(
        self,
        num_tasks: int,
        task_experts: Experts,
        shared_experts: Experts,
        gate: Gate,
        level: int,
        has_shared_gate: bool,
        **kwargs: Any,
    ):
        super().__init__(name=f"level_{level}", **kwargs)
        self.num_tasks = num_tasks
        first = level * (num_tasks + 1)
        self.task_experts = [
            cloned(task_experts, first + t, f"task_{t}_experts") for t in range(num_tasks)
        ]
        self.shared_experts = cloned(shared_experts, first + num_tasks, "shared_experts")
        of_task, shared = task_experts.num_experts, shared_experts.num_experts
        sizes = {"num_tasks": None, "num_experts": None}
        self.gate = cloned(gate, first, "gate", **sizes)
        self.gate.set_sizes(num_tasks, of_task + shared)
        self.shared_gate = None
        if has_shared_gate:
            self.shared_gate = cloned(gate, first + num_tasks, "shared_gate", **sizes)
            self.shared_gate.set_sizes(1, num_tasks * of_task + shared)

    def gates(self) -> list[Gate]:
        """Return the gates of the tasks and, if there is one, the shared gate."""
        return [self.gate] if self.shared_gate is None else [self.gate, self.shared_gate]

    def build(self, input_shape: tuple) -> None:
        for part in (*self.task_experts, self.shared_experts, *self.gates()):
            part.build((None, input_shape[-1]))

    def call(
        self, task_rows: tf.Tensor, shared_rows: tf.Tensor, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None, Gates]:
        each = tf.unstack(task_rows, axis=1) if len(task_rows.shape) == 3 else None
        of_tasks = [  # T times [B, E, U]
            experts(each[t] if each else task_rows, layout=EveryRow(), training=training)
            for t, experts in enumerate(self.task_experts)
        ]
        shared = self.shared_experts(shared_rows, layout=EveryRow(), training=training)
        gates = self.gate(task_rows, training=training)
        size = self.task_experts[0].num_experts
        outputs = weighted_sum(gates.gates[..., size:], shared) + tf.concat(
            [
                weighted_sum(gates.gates[:, t : t + 1, :size], of_tasks[t])
                for t in range(self.num_tasks)
            ],
            1,
        )
        if self.shared_gate is None:
            return outputs, None, gates
        shared_gates = self.shared_gate(shared_rows, training=training)
        losses = add_losses(gates.losses, shared_gates.losses)
        parts = tf.split(shared_gates.gates, [size] * self.num_tasks + [-1], axis=2)
        mixed = tf.add_n(
            [weighted_sum(g, y) for g, y in zip(parts, [*of_tasks, shared], strict=True)]
        )
        return outputs, tf.squeeze(mixed, 1), gates._replace(losses=losses)
