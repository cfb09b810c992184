"""A number to predict."""

import keras
import tensorflow as tf

from .task import Task


@keras.saving.register_keras_serializable(package="moe_zoo")
class RegressionTask(Task):
    """A number: the loss is the squared error, the metric `rmse` its root.

    A missing label is NaN; a whole number is never missing. Labels are best near 0 with a spread
    near 1, as the first predictions are near 0.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        weight: `float`, of its loss.
        tower: hidden units of its own layers after the mixing.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.

    Raises:
        ValueError: a name that is none, a negative weight, a size that is too small.

    Example:

    >>> task = RegressionTask("rating")
    >>> task.row_losses(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [4.0]
    """

    sizes = 0.5
    accepts = "finite numbers"

    def activate(self, logits):
        return logits

    def row_losses(self, labels, outputs):
        return tf.square(tf.cast(labels, outputs.dtype) - outputs)

    def fits(self, labels):
        return tf.math.is_finite(tf.cast(labels, tf.float32))

    def present(self, labels):
        if labels.dtype.is_floating:
            return ~tf.math.is_nan(labels)
        return tf.ones_like(labels, tf.bool)

    def metrics(self):
        return [keras.metrics.RootMeanSquaredError(name="rmse")]
