"""What layers for several tasks share: rows in, one representation of each row per task out."""

import keras
import tensorflow as tf

from moe_zoo.inputs import dense_inputs
from moe_zoo.plans.plan import DensePlan
from moe_zoo.quantizing import check_policy
from moe_zoo.recomputing import Recomputable, refuse_recomputing
from moe_zoo.recording import record
from moe_zoo.stats import RoutingMetric, count_plan
from moe_zoo.validation import check_int, shown

from .names import default_name

SCALARS = ("importance_cv", "entropy", "dead_experts")  # that say something about gates


class TaskMixing(Recomputable):
    """Gives each of several tasks its own representation of a row. All subclasses can be swapped.

    Subclasses fill in `build_mixing`, `mix` and `output_dim`. Those with gates have
    `has_gates = True` and call `add_statistics`: what the gates of a task do then appears in the
    logs of `fit` as `<layer>_<task>_entropy` and so on, and in full in `routing_stats`.

    Args:
        num_tasks: `int`, T.
        task_names: T names for statistics; `None` is `task_0` and so on.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: `<number>[B, D]`.
        training: `bool`.

    Returns:
        `<float>[B, T, U]`.

    Raises:
        ValueError: a size that is not positive, names of another number, or inputs that are not
            `[B, D]` with a known D.
    """

    has_gates = False
    task_names: list[str]

    def __init__(self, num_tasks, task_names=None, name=None, **kwargs):
        super().__init__(name=name or default_name(type(self).__name__), **kwargs)
        check_policy(self)
        self.num_tasks = check_int("num_tasks", num_tasks, least=1)
        self.set_task_names(task_names)
        self.statistics: list[RoutingMetric] = []

    def set_task_names(self, task_names):
        """Name the tasks, before the layer is built. Raises `ValueError` unless they fit."""
        names = [f"task_{t}" for t in range(self.num_tasks)] if task_names is None else task_names
        if len(names) != self.num_tasks or len(set(names)) != len(names):
            raise ValueError(
                f"Expected {self.num_tasks} different names. Received: "
                f"task_names={shown(task_names)}. Give one for each task."
            )
        if self.built and list(names) != self.task_names:
            raise ValueError(
                f"Expected a layer whose tasks are {shown(list(names))}. Received: "
                f"{shown(self.name)}, which is in use for {shown(self.task_names)}. Give each "
                "model a layer of its own."
            )
        self.task_names = list(names)

    def build(self, input_shape):
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                "Expected inputs [batch, width] with a known width. Received: "
                f"input_shape={tuple(input_shape)}. Concatenate and flatten the features of a row."
            )
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: input_shape[-1]})
        self.build_mixing(input_shape[-1])

    def build_mixing(self, width):
        """Create the weights for rows of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_mixing().")

    def mix(self, rows, training):
        """`<dtype>[B, D]` -> `(<dtype or float32>[B, T, U], Gates or None)`."""
        raise NotImplementedError(f"{type(self).__name__} has to define mix().")

    def output_dim(self, width):
        """U, for rows of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define output_dim().")

    def add_statistics(self, num_experts, loss_names, one_gate=False):
        """Count what gates do: a gate for each task, or one for all, which has the layer's name."""
        names = {None: self.name} if one_gate else {t: f"{self.name}_{t}" for t in self.task_names}
        self.statistics = [
            RoutingMetric(name, num_experts, loss_names, SCALARS, group=self.name, task=task)
            for task, name in names.items()
        ]

    def call(self, inputs, training=None):
        if training is not None:
            refuse_recomputing(self)
        outputs, gates = self.mix(dense_inputs(inputs, self.compute_dtype), training)
        shares = {} if gates is None else self._shares(gates.losses)
        for t, metric in enumerate(self.statistics):
            task = gates.gates[:, t : t + 1]  # [B, 1, E]: each row is a group
            real = tf.ones_like(task[..., 0], tf.bool)
            plan = DensePlan(task, real, gates.probabilities[:, t : t + 1], shares)
            record(metric, "/".join(filter(None, (self.path, metric.task))), plan)
            if training is not None:  # neither in a plain call nor in an exported graph
                count_plan(metric, plan, training)
        return keras.ops.cast(outputs, self.compute_dtype)

    def _shares(self, losses):
        """A task's share of each loss, so that what all tasks report sums to the loss."""
        return {name: loss / len(self.statistics) for name, loss in losses.items()}

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_tasks, self.output_dim(input_shape[-1]))

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "task_names": self.task_names,
        }

    @classmethod
    def from_config(cls, config):
        def revive(value):
            is_object = isinstance(value, dict) and "class_name" in value
            return keras.saving.deserialize_keras_object(value) if is_object else value

        return cls(**{name: revive(value) for name, value in config.items()})
