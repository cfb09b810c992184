"""Metrics of one task, of the rows that have its label."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_int

from .logits import logit, logits_of
from .task import Task


class LabelledMean(keras.metrics.Metric):
    """The mean of a function of labels and outputs in each row, such as the log loss.

    Args:
        function: `(labels, outputs) -> <float32>[B]`.
        name: `str`.
    """

    def __init__(self, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, labels: tf.Tensor, outputs: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Add rows, each with its weight."""
        self.total.assign_add(tf.reduce_sum(sample_weight * self.function(labels, outputs)))
        self.count.assign_add(tf.reduce_sum(sample_weight))

    def result(self) -> tf.Tensor:
        """Return the mean so far; 0 of no row."""
        return tf.math.divide_no_nan(*map(tf.convert_to_tensor, (self.total, self.count)))


class LogitAUC(keras.metrics.Metric):
    """The area under the ROC curve, from a histogram of the logits of both classes.

    In place of `keras.metrics.AUC`, whose thresholds lie evenly between 0 and 1: nearly all
    probabilities of a rare class fall between the same two of them. Here they lie evenly in the
    logit, from -15 to 15. It works on a mesh of devices too, where Keras' does not.

    Args:
        num_bins: `int`.
        name: `str`.

    Example:

    >>> metric = LogitAUC()
    >>> labels, outputs = tf.constant([1, 0, 1, 0]), tf.constant([0.9, 0.8, 0.7, 0.1])
    >>> metric.update_state(labels, outputs, tf.ones([4]))
    >>> round(float(metric.result()), 6)
    0.75
    """

    LARGEST = 15.0

    def __init__(self, num_bins: int = 4096, name: str = "auc"):
        super().__init__(name=name, dtype="float32")
        self.num_bins = check_int("num_bins", num_bins, least=2)
        self.histogram = self.add_weight(
            shape=(self.num_bins, 2), name="histogram", initializer="zeros"
        )

    def update_state(self, labels: tf.Tensor, outputs: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Add rows, each with its weight."""
        logits = logits_of(outputs, logit)
        place = (logits / self.LARGEST + 1) / 2 * self.num_bins
        bins = tf.cast(tf.clip_by_value(place, 0.0, self.num_bins - 1.0), tf.int32)
        positive = tf.cast(labels, tf.float32)
        weights = tf.stack([1 - positive, positive], -1) * tf.expand_dims(sample_weight, -1)
        self.histogram.assign_add(tf.math.unsorted_segment_sum(weights, bins, self.num_bins))

    def result(self) -> tf.Tensor:
        """Return the area so far: the share of pairs in order, ties half; 0 of one class only."""
        negatives, positives = tf.unstack(tf.convert_to_tensor(self.histogram), 2, 1)
        below = tf.cumsum(negatives) - negatives / 2
        pairs = tf.reduce_sum(negatives) * tf.reduce_sum(positives)
        return tf.math.divide_no_nan(tf.reduce_sum(positives * below), pairs)


class Calibration(keras.metrics.Metric):
    """The sum of predictions over the sum of labels: 1 if as many are expected as there are.

    Args:
        name: `str`.

    Example:

    >>> metric = Calibration()
    >>> metric.update_state(tf.constant([1, 0]), tf.constant([0.75, 0.75]), tf.constant([1.0, 1.0]))
    >>> float(metric.result())
    1.5
    """

    def __init__(self, name: str = "calibration"):
        super().__init__(name=name, dtype="float32")
        self.expected = self.add_weight(name="expected", initializer="zeros")
        self.found = self.add_weight(name="found", initializer="zeros")

    def update_state(self, labels: tf.Tensor, outputs: tf.Tensor, sample_weight: tf.Tensor) -> None:
        """Add rows, each with its weight."""
        self.expected.assign_add(tf.reduce_sum(sample_weight * outputs))
        self.found.assign_add(tf.reduce_sum(sample_weight * tf.cast(labels, tf.float32)))

    def result(self) -> tf.Tensor:
        """Return the value so far; 0 without a positive label."""
        return tf.math.divide_no_nan(*map(tf.convert_to_tensor, (self.expected, self.found)))


class TaskMetric(keras.metrics.Metric):
    """A Keras metric of one task, of the rows that have its label: `income_auc`.

    Args:
        task: the `Task`.
        metric: Keras metric whose weighted rows are added.
        by_user: `str`, the name of a metric given to `compile`, to which Keras adds the task's.
    """

    def __init__(self, task: Task, metric: keras.metrics.Metric, by_user: str | None = None):
        super().__init__(name=by_user or f"{task.name}_{metric.name}", dtype="float32")
        self.task, self.metric, self.by_user = task, metric, by_user
        # Of the labels: how many, their sum and that of their squares.
        self.sums = self.add_weight(shape=(3,), name="sums", initializer="zeros", dtype="float64")

    def update_state(self, labels: Any, outputs: Any, sample_weight: Any = None) -> None:
        """Add the rows that have a label. Of a `dict` by task, as a model has them, its own."""
        labels, outputs, sample_weight = map(self._own, (labels, outputs, sample_weight))
        labels, present = self.task.read(labels)
        weight = tf.cast(present, tf.float32)
        if sample_weight is not None:
            sample_weight = tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
            weight = tf.where(present, sample_weight, 0.0)
        if self.by_user and self.task.units == 1:
            # Keras' functions take the mean over the last axis.
            self.metric.update_state(labels[:, None], outputs[:, None], sample_weight=weight)
        else:
            self.metric.update_state(labels, outputs, sample_weight=weight)
        weight, labels = tf.cast(weight, tf.float64), tf.cast(labels, tf.float64)
        terms = (weight, weight * labels, weight * labels * labels)
        self.sums.assign_add(tf.stack([tf.reduce_sum(term) for term in terms]))

    def result(self) -> tf.Tensor:
        """Return the metric's result."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Reset all sums."""
        self.metric.reset_state()
        self.sums.assign(tf.zeros_like(self.sums))

    def _own(self, value: Any) -> Any:
        return value.get(self.task.name) if isinstance(value, dict) else value

    def undefined(self) -> str | None:
        """Return why the metric is undefined, `str`, or `None` if it has a value."""
        rows, positives, _ = (float(x) for x in self.sums.numpy())
        if rows == 0:
            return "no row has a label"
        if isinstance(self.metric, LogitAUC) and positives in (0, rows):
            return f"every label is {int(positives > 0)}, one class only"
        if isinstance(self.metric, Calibration) and positives == 0:
            return "every label is 0"
        return None
