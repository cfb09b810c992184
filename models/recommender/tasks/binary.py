"""Binary labels."""

import keras
import tensorflow as tf

from .logits import logit, logits_of
from .metrics import Calibration, LabelledMean, LogitAUC
from .task import Task


class Probability(Task):
    """A task whose output is the probability of a label that is 0 or 1."""

    accepts = "0 or 1"
    classes = 2

    def activate(self, logits: tf.Tensor) -> tf.Tensor:
        return keras.activations.sigmoid(logits)

    def row_losses(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        logits = logits_of(outputs, logit)
        labels = tf.cast(labels, logits.dtype)
        return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)

    def fits(self, labels: tf.Tensor) -> tf.Tensor:
        return (labels == 0) | (labels == 1)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [
            LogitAUC(name="auc"),
            LabelledMean(self.row_losses, name="log_loss"),
            keras.metrics.BinaryAccuracy(name="accuracy"),
            Calibration(name="calibration"),
        ]


@keras.saving.register_keras_serializable(package="moe_zoo")
class BinaryTask(Probability):
    """A binary label: the output is the probability that it is 1.

    Its loss is the binary cross-entropy, from logits. Metrics: `auc`, `log_loss`,
    `accuracy` and `calibration`, the sum of predictions over the sum of labels.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        weight: `float`, of its loss.
        tower: hidden units of its own layers after the mixing.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.
        missing_label: `int` that means a missing label, as NaN does, such as -1; `None` if all
            whole numbers are labels.

    Raises:
        ValueError: If `name` is not a text without '/', `weight` is negative, or a size is not
            positive.

    Example:

    >>> task = BinaryTask("click")
    >>> outputs = task.output(tf.constant([[0.0], [2.0]]))
    >>> task.row_losses(tf.constant([1.0, 0.0]), outputs).numpy().round(3).tolist()
    [0.6930000185966492, 2.127000093460083]
    """
