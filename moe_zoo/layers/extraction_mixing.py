"""What CGC and PLE share: levels of extraction, one after the other."""

import keras

from moe_zoo.gates import SoftmaxGate
from moe_zoo.validation import check_int

from .clones import reseeded
from .extraction import Extraction, add_losses
from .task_mixing import TaskMixing


class ExtractionMixing(TaskMixing):
    """Levels of experts of tasks and experts of all. Subclasses say how many levels.

    Args:
        num_tasks: `int`, T.
        task_experts: experts of each task; `num_experts` counts those of one.
        shared_experts: experts of all tasks, of the same width.
        gate: a gate; `None` is `SoftmaxGate()`.
        levels: `int`.
        **kwargs: further arguments of `TaskMixing`: `task_names`, `name`, `dtype`.
    """

    has_gates = True

    def __init__(self, num_tasks, task_experts, shared_experts, gate, levels, **kwargs):
        super().__init__(num_tasks, **kwargs)
        count = check_int("levels", levels, least=1)
        gate = SoftmaxGate() if gate is None else gate
        self.levels = [
            Extraction(
                self.num_tasks,
                task_experts,
                shared_experts,
                gate,
                level=level,
                has_shared_gate=level + 1 < count,
                dtype=self.dtype_policy,
            )
            for level in range(count)
        ]

    def build_mixing(self, width):
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

    def mix(self, rows, training):
        task_rows = shared_rows = rows
        losses: dict = {}
        for level in self.levels:
            task_rows, shared_rows, gates = level(task_rows, shared_rows, training=training)
            losses = add_losses(losses, gates.losses)
        return task_rows, gates._replace(losses=losses)

    def output_dim(self, width):
        for level in self.levels:
            width = level.shared_experts.compute_output_shape((None, width))[-1]
        return width

    def get_config(self):
        first = self.levels[0]
        task_experts, shared_experts = map(
            keras.saving.serialize_keras_object, self._experts(first)
        )
        return {
            **super().get_config(),
            "task_experts": task_experts,
            "shared_experts": reseeded(shared_experts, -self.num_tasks),  # it is clone T
            "gate": keras.saving.serialize_keras_object(first.gate),
        }

    @staticmethod
    def _experts(level):
        return level.task_experts[0], level.shared_experts
