"""The base of models of several tasks: losses, metrics, configuration."""

import functools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.layers import TaskMixing
from moe_zoo.models.one_replica import BuiltFromOneReplica
from moe_zoo.models.recommender.tasks.metrics import TaskMetric
from moe_zoo.quantizing import quantize_as, quantized_config
from moe_zoo.validation import shown

from .by_task import losses_by_task, metrics_by_task, weights_by_task
from .features import Feature
from .table_calls import TableCalls
from .table_export import TableExport
from .task_data import TaskData
from .task_losses import for_keras, task_loss
from .tasks import Task


class TaskModel(TableExport, TableCalls, BuiltFromOneReplica, keras.Model):
    """A Keras model whose outputs are a `dict` by task; losses and metrics come from the tasks.

    `compile("adam")` is enough; see `compile` for other losses, weights and metrics. A subclass has
    `features`, `mixing`, `uncertainty_weights`, `unseen_rate` and `log_variances`, and defines
    `input_specs` and `read_inputs`.

    The loss of a task is the mean over the rows that have its label, `sum_i w_i L_i / n` with the
    sample weights `w` and the number `n` of such rows, 0 without any. The loss is the sum of all by
    the tasks' weights. With learned weights each row's is `c e^-s L_i + s / 2` in place of `L_i`,
    with the task's `s = log sigma^2` (`log_variances`), and `c` 1/2 for a regression, 1 for classes
    (section 3 of the paper).

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty", CVPR 2018, arXiv 1705.07115.
    """

    features: dict[str, Feature]
    mixing: TaskMixing
    uncertainty_weights: bool
    unseen_rate: float

    def __init__(self, tasks: Iterable[Task], **kwargs: Any):
        super().__init__(**kwargs)
        self.tasks = list(tasks)
        self.labelled = [task for task in self.tasks if task.label]
        self.loss_weights = weights_by_task(None, self.labelled)
        self._data = TaskData(self.read_inputs, self.labelled)
        self.task_metrics = {
            task.name: [TaskMetric(task, metric) for metric in task.metrics()]
            for task in self.labelled
        }

    @property
    def log_variances(self) -> keras.Variable | None:
        """`<float32>[tasks with labels]`, or `None` without learned weights."""
        raise NotImplementedError(f"{type(self).__name__} has to define log_variances.")

    def read_inputs(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Return the columns of a table, as `fit` is given it, as tensors by feature."""
        raise NotImplementedError(f"{type(self).__name__} has to define read_inputs().")

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure training as Keras does, with losses, weights and metrics by task.

        Args:
            optimizer: `str` or Keras optimizer.
            loss: Keras losses in place of the tasks' own and of their `weight`: a `dict` by task, a
                list in their order, or one for all; `None` for the tasks' own. Rows without a label
                do not count.
            loss_weights: what the loss of a task is multiplied by, in addition to its own `weight`
                and to learned weights: a `dict` by task, 1 for others; a list in their order; or a
                number if there is one task.
            metrics: Keras metrics in addition to the tasks' own, without sample weights: a `dict`
                by task, a list in their order, or a list of metrics if there is one task.
            weighted_metrics: the same, with sample weights.
            run_eagerly: `bool`.
            steps_per_execution: `int`.
            jit_compile: `bool` or `"auto"`.
            auto_scale_loss: `bool`, scale the loss in float16.

        Raises:
            ValueError: If a name is not a task with a label, the number of values is not that of
                the tasks, a weight is negative or not finite, or `loss` leaves a task out or is
                given with learned weights.
        """
        weights = weights_by_task(loss_weights, self.labelled)
        if loss is not None:
            loss = losses_by_task(loss, self.labelled)
            if self.uncertainty_weights:
                raise ValueError(
                    f"Expected the tasks' own losses with uncertainty_weights=True. Received: loss="
                    f"{shown(loss)}. Learned weights belong to likelihoods: leave one out."
                )
        given = {"metrics": metrics, "weighted_metrics": weighted_metrics}
        super().compile(
            optimizer,
            loss=loss,
            loss_weights=None if loss is None else {name: weights[name] for name in loss},
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
            **{
                what: metrics_by_task(what, chosen, self.labelled) or None
                for what, chosen in given.items()
            },
        )
        self.loss_weights = weights
        # Within a function Keras does not take the user's metrics for the model's own.
        given["loss_weights"] = loss_weights
        self._serialize_given = functools.partial(keras.saving.serialize_keras_object, given)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return the arguments of `compile` as plain data."""
        config = super().get_compile_config()
        return {**config, **self._serialize_given()} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with the arguments of `get_compile_config`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    # === Losses and metrics, which Keras' steps call ===

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the sum of the tasks' losses and of what layers add; see the class."""
        y, sample_weight = self._data.labels(y), self._data.weights(sample_weight)
        if self._compile_loss is not None:
            chosen = [task for task in self.labelled if task.name in self.loss]
            parts = {task.name: for_keras(task, y, y_pred, sample_weight) for task in chosen}
            three = [{name: part[i] for name, part in parts.items()} for i in range(3)]
            return super().compute_loss(x, *three, training)
        losses = []
        for i, task in enumerate(self.labelled):
            log_variance = None if self.log_variances is None else self.log_variances[i]
            weight = sample_weight[task.name]
            loss = task_loss(task, y[task.name], y_pred[task.name], weight, log_variance)
            losses.append(self.loss_weights[task.name] * task.weight * loss)
        total = tf.add_n(
            [tf.add_n(losses), *(tf.reduce_sum(tf.cast(x, tf.float32)) for x in self.losses)]
        )
        # As Keras scales all of its losses: each replica of a strategy gives its share.
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the tasks' metrics by name, and those of `compile`."""
        y, weights = self._data.labels(y), self._data.weights(sample_weight)
        y_pred = {name: y_pred[name] for name in y}
        for name in y:
            for metric in self.task_metrics[name]:
                metric.update_state(y[name], y_pred[name], weights[name])
        return super().compute_metrics(x, y, y_pred, None if sample_weight is None else weights)

    def task_weights(self) -> dict[str, float]:
        """Return the current weight of each task's loss: `dict` of `float`."""
        weights = {task.name: task.weight * self.loss_weights[task.name] for task in self.labelled}
        if self.log_variances is not None:
            values = np.exp(-self.log_variances.numpy())
            for task, value in zip(self.labelled, values, strict=True):
                weights[task.name] *= task.uncertainty_scale * float(value)
        return weights

    def undefined_metrics(self) -> dict[str, str]:
        """Return the metrics without a value after the last evaluation: `dict` of reasons."""
        reasons = {
            metric.name: metric.undefined()
            for metrics in self.task_metrics.values()
            for metric in metrics
        }
        return {name: reason for name, reason in reasons.items() if reason}

    # === Configuration ===

    def output_specs(self, batch: int | None) -> dict[str, keras.KerasTensor]:
        """Return the outputs of a number of rows, `dict` by task."""
        return {
            task.name: keras.KerasTensor((batch,) if task.units == 1 else (batch, task.units))
            for task in self.tasks
        }

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "features": [[name, serialize(feature)] for name, feature in self.features.items()],
            "tasks": [serialize(task) for task in self.tasks],
            "mixing": serialize(self.mixing),
            "uncertainty_weights": self.uncertainty_weights,
            "unseen_rate": self.unseen_rate,
            **quantized_config(self),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "TaskModel":
        def make(part: Any) -> Any:
            return keras.saving.deserialize_keras_object(part, custom_objects=custom_objects)

        arguments = {
            **config,
            "features": [(name, make(feature)) for name, feature in config["features"]],
            "tasks": [make(task) for task in config["tasks"]],
            "mixing": make(config["mixing"]),
        }
        quantized = arguments.pop("quantized", {})
        model = cls(**arguments)
        quantize_as(model, quantized)
        return model
