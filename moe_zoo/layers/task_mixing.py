"""The base of layers for several tasks: rows in, one representation of each row per task out."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.inputs import dense_inputs
from moe_zoo.plans import DensePlan
from moe_zoo.quantizing import check_policy
from moe_zoo.recomputing import Recomputable, refuse_recomputing
from moe_zoo.scopes import record
from moe_zoo.stats import RoutingMetric, count_plan
from moe_zoo.validation import check_int, shown

from .names import default_name

SCALARS = ("importance_cv", "entropy", "dead_experts")  # that say something about gates


class TaskMixing(Recomputable):
    """Gives each of several tasks its own representation of a row. All subclasses can be swapped.

    Subclasses fill in `build_mixing`, `mix` and `output_dim`, and those with parts for each task
    `size_parts`, which they call at the end of their constructors. Those with gates have
    `has_gates = True` and call `add_statistics`: what the gates of a task do then appears in the
    logs of `fit` as `<layer>_<task>_entropy` and so on, and in full in `routing_stats`.

    Args:
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Call arguments:
        inputs: `<float>[B, D]`.
        training: `bool`.

    Returns:
        `<float>[B, T, U]`.

    Raises:
        ValueError: If a size is not positive, there are not T different names, T is not known when
            the layer is built, or inputs are not `[B, D]` with a known D.
    """

    has_gates = False
    num_tasks: Any  # `int`; it and the names are `None` as long as they are not known
    task_names: Any

    def __init__(
        self,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or default_name(type(self).__name__), **kwargs)
        check_policy(self)
        self.num_tasks = None if num_tasks is None else check_int("num_tasks", num_tasks, least=1)
        self.task_names = None
        self.statistics: list[RoutingMetric] = []
        if task_names is not None:
            names = self._different(task_names)
            self.num_tasks = len(names)
            if names != _numbered(len(names)):
                self.task_names = names

    def set_tasks(self, names: Sequence[str]) -> None:
        """Fix the number of tasks and their names, as the model that owns the layer does.

        Args:
            names: list of `str`, T names.

        Raises:
            ValueError: If the layer has another number of tasks, or tasks of other names.
        """
        names = self._different(names)
        if self.task_names not in (None, names):
            raise ValueError(
                f"Expected a layer for the tasks {shown(names)}. Received: {shown(self.name)}, "
                f"whose tasks are {shown(self.task_names)}. Give each model a layer of its own, "
                "without `task_names`."
            )
        sized = self.num_tasks is not None
        self.num_tasks, self.task_names = len(names), names
        if not sized:
            self.size_parts()

    def size_parts(self) -> None:
        """Make what depends on the number of tasks; nothing as long as that is not known."""

    def _different(self, names: Sequence[str]) -> list[str]:
        are_names = not isinstance(names, str) and all(isinstance(name, str) for name in names)
        count = self.num_tasks or max(len(names), 1)
        if not are_names or len(names) != count or len(set(names)) != count:
            raise ValueError(
                f"Expected {count} different names. Received: task_names={shown(names)}. Give a "
                "list with a str for each task."
            )
        return list(names)

    def build(self, input_shape: tuple) -> None:
        if self.num_tasks is None:
            raise ValueError(
                "Expected a layer that knows its number of tasks. Received: num_tasks=None for "
                f"{shown(self.name)}. Put it into a MultiTaskRecommender, which has tasks, or give "
                "num_tasks to use it alone."
            )
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                "Expected inputs [batch, width] with a known width. Received: "
                f"input_shape={tuple(input_shape)}. Concatenate and flatten the features of a row."
            )
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: input_shape[-1]})
        self.task_names = self.task_names or _numbered(self.num_tasks)
        self.build_mixing(input_shape[-1])

    def build_mixing(self, width: int) -> None:
        """Create the weights for rows of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_mixing().")

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        """Mix `<dtype>[B, D]` -> `(<dtype or float32>[B, T, U], Gates or None)`."""
        raise NotImplementedError(f"{type(self).__name__} has to define mix().")

    def output_dim(self, width: int) -> int:
        """Return U, for rows of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define output_dim().")

    def add_statistics(
        self, num_experts: int, loss_names: Iterable[str], one_gate: bool = False
    ) -> None:
        """Count what gates do: a gate for each task, or one for all, which has the layer's name."""
        names = {None: self.name} if one_gate else {t: f"{self.name}_{t}" for t in self.task_names}
        self.statistics = [
            RoutingMetric(name, num_experts, loss_names, SCALARS, group=self.name, task=task)
            for task, name in names.items()
        ]

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        if training is not None:
            refuse_recomputing(self)
        outputs, gates = self.mix(dense_inputs(inputs), training)
        shares = {} if gates is None else self._shares(gates.losses)
        for t, metric in enumerate(self.statistics):
            task = gates.gates[:, t : t + 1]  # [B, 1, E]: each row is a group
            mask = tf.ones_like(task[..., 0], tf.bool)
            plan = DensePlan(task, mask, gates.probabilities[:, t : t + 1], shares)
            record(metric, "/".join(filter(None, (self.path, metric.task))), plan)
            if training is not None:  # neither in a plain call nor in an exported graph
                count_plan(metric, plan, training)
        return keras.ops.cast(outputs, self.compute_dtype)

    def _shares(self, losses: dict) -> dict:
        """A task's share of each loss, so that what all tasks report sums to the loss."""
        return {name: loss / len(self.statistics) for name, loss in losses.items()}

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.num_tasks, self.output_dim(input_shape[-1]))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "task_names": self.task_names,
        }

    @classmethod
    def from_config(cls, config: dict) -> Any:
        def revive(value: Any) -> Any:
            is_object = isinstance(value, dict) and "class_name" in value
            return keras.saving.deserialize_keras_object(value) if is_object else value

        return cls(**{name: revive(value) for name, value in config.items()})


def _numbered(num_tasks: int) -> list[str]:
    return [f"task_{t}" for t in range(num_tasks)]
