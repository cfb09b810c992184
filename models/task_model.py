"""What a model of several tasks has in common: its losses, metrics, and how they are reported."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.models.features.columns import as_column, check_columns
from moe_zoo.models.tasks.metrics import TaskMetric


class TaskModel(keras.Model):
    """A Keras model whose outputs are a `dict` by task; losses and metrics come from the tasks.

    `compile("adam")` is enough. A `loss` given to `compile` takes the place of the tasks' losses,
    `metrics` are added to theirs. A subclass has `log_variances`, and says by `read_inputs` how
    inputs are prepared that `fit`, `evaluate` and `predict` are given.

    The loss of a task is the mean over the rows that have its label, `sum_i w_i L_i / n` with the
    sample weights `w` and the number `n` of such rows, 0 without any. The loss is the sum of all by
    the tasks' weights. With learned weights each row's is `c e^-s L_i + s / 2` in place of `L_i`,
    with the task's `s = log sigma^2` (`log_variances`), and `c` 1/2 for a regression, 1 for classes
    (section 3 of the paper).

    Reference: Kendall et al., "Multi-Task Learning Using Uncertainty", CVPR 2018, arXiv 1705.07115.
    """

    def __init__(self, tasks, **kwargs):
        super().__init__(**kwargs)
        self.tasks = list(tasks)
        self.labelled = [task for task in self.tasks if task.label]
        self.task_metrics = {
            task.name: [TaskMetric(task, metric) for metric in task.metrics()]
            for task in self.labelled
        }

    @property
    def log_variances(self):
        """`<float32>[tasks with labels]`, or `None` without learned weights."""
        raise NotImplementedError(f"{type(self).__name__} has to define log_variances.")

    def read_inputs(self, inputs):
        """Inputs as `fit` is given them, as tensors; other than a `dict` they are left alone."""
        raise NotImplementedError(f"{type(self).__name__} has to define read_inputs().")

    # === Losses and metrics, as Keras' steps ask for them ===

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The sum of the tasks' losses and of what layers add; see the class."""
        if self._compile_loss is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        y = self._labels(y)
        losses = []
        for i, task in enumerate(self.labelled):
            log_variance = None if self.log_variances is None else self.log_variances[i]
            weight = _of_task(sample_weight, task)
            loss = task_loss(task, y[task.name], y_pred[task.name], weight, log_variance)
            losses.append(task.weight * loss)
        total = tf.add_n(
            [tf.add_n(losses), *(tf.reduce_sum(tf.cast(x, tf.float32)) for x in self.losses)]
        )
        # As Keras scales all of its losses: each replica of a strategy gives its share.
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The tasks' metrics by name, and those of `compile`."""
        labels = self._labels(y)
        for task in self.labelled:
            for metric in self.task_metrics[task.name]:
                weight = _of_task(sample_weight, task)
                metric.update_state(labels[task.name], y_pred[task.name], weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def task_weights(self):
        """What each task's loss is multiplied by at present: `dict` of `float`."""
        weights = {task.name: task.weight for task in self.labelled}
        if self.log_variances is not None:
            values = np.exp(-self.log_variances.numpy())
            for task, value in zip(self.labelled, values, strict=True):
                weights[task.name] *= task.sizes * float(value)
        return weights

    def undefined_metrics(self):
        """Metrics without a value after the last evaluation: `dict` of reason by name."""
        found = {
            metric.name: metric.undefined()
            for metrics in self.task_metrics.values()
            for metric in metrics
        }
        return {name: reason for name, reason in found.items() if reason}

    # === What users call ===

    def fit(self, x=None, y=None, *args, **kwargs):
        """As Keras' own, for a `dict` of columns and one of labels, or batches of such pairs."""
        if "validation_data" in kwargs and isinstance(kwargs["validation_data"], tuple):
            val_x, val_y, *weights = kwargs["validation_data"]
            kwargs["validation_data"] = (*self._read(val_x, val_y), *weights)
        if isinstance(x, tf.data.Dataset) and not args:
            kwargs.setdefault("shuffle", False)  # Keras warns that it leaves the order as it is
        return super().fit(*self._read(x, y), *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, return_dict=False, **kwargs):
        """As Keras' own; a metric that is undefined is left out of the `dict`, and said.

        Warns:
            UserWarning: a task none of whose rows has a label, or an AUC of one class only.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y = self._read(x, y)
        logs = super().evaluate(x, y, *args, return_dict=True, **kwargs)
        undefined = self.undefined_metrics()
        if undefined:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
            warnings.warn(
                "Expected labels from which every metric can be computed. Received, of all rows "
                f"together: {reasons}. These are left out of the dict that return_dict=True gives.",
                stacklevel=2,
            )
        if return_dict:
            return {name: value for name, value in logs.items() if name not in undefined}
        return self._flatten_metrics_in_order(logs)

    def predict(self, x, *args, **kwargs):
        """As Keras' own: a `dict` of arrays by task."""
        return super().predict(self._read(x, None)[0], *args, **kwargs)

    def _read(self, x, y):
        """Columns and labels in memory as tensors, checked where that costs little."""
        x = self.read_inputs(x) if isinstance(x, dict) else x
        if isinstance(y, dict) or (y is not None and not isinstance(x, tf.data.Dataset)):
            y = {task.name: y for task in self.labelled} if not isinstance(y, dict) else dict(y)
        if isinstance(y, dict):
            y = {name: as_column(name, labels) for name, labels in self._labels(y).items()}
            for task in self.labelled:
                task.check(y[task.name])
        return x, y

    def _labels(self, y):
        """Labels by task, those of a single task on their own too."""
        if y is not None and not isinstance(y, dict) and len(self.labelled) == 1:
            y = {self.labelled[0].name: y}
        names = [task.name for task in self.labelled]
        check_columns(y, names, "label")
        return {name: y[name] for name in names}


def task_loss(task, labels, outputs, sample_weight=None, log_variance=None):
    """The loss of one task: the mean over the rows that have its label; see `TaskModel`.

    Args:
        task: the `Task`.
        labels: `<any>[B]`.
        outputs: `<float32>[B]` or `[B, C]`.
        sample_weight: `<float>[B]`, or `None`.
        log_variance: `<float32>[]`, or `None` without a learned weight.

    Returns:
        `<float32>[]`.
    """
    task.check(labels)
    labels, present = task.read(labels)
    losses = task.row_losses(labels, outputs)
    if log_variance is not None:
        losses = task.sizes * tf.exp(-log_variance) * losses + log_variance / 2
    if sample_weight is not None:
        losses *= tf.reshape(tf.cast(sample_weight, losses.dtype), [-1])
    total = tf.reduce_sum(tf.where(present, losses, tf.zeros_like(losses)))
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(present, losses.dtype)))


def _of_task(sample_weight, task):
    return sample_weight.get(task.name) if isinstance(sample_weight, dict) else sample_weight
