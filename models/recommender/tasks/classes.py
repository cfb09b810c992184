"""One of several classes."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_int

from .logits import clip, logits_of
from .metrics import LabelledMean
from .task import Task


@keras.saving.register_keras_serializable(package="moe_zoo")
class ClassTask(Task):
    """One of several classes: the output is the probability of each.

    Its loss is the cross-entropy, from logits. Metrics: `accuracy` and `log_loss`.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        num_classes: `int`, C; labels are from 0 to C - 1.
        weight: `float`, of its loss.
        tower: hidden units of its own layers after the mixing.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.
        missing_label: `int` that means a missing label, as NaN does, such as -1; `None` if all
            whole numbers are labels.

    Raises:
        ValueError: If `name` is not a text without '/', `weight` is negative, or a size is not
            positive.

    Example:

    >>> task = ClassTask("colour", num_classes=3)
    >>> tuple(task.output(tf.zeros([5, 3])).shape)
    (5, 3)
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        weight: float = 1.0,
        tower: Sequence[int] = (8,),
        label: bool = True,
        missing_label: int | None = None,
    ):
        self.classes = self.num_classes = check_int("num_classes", num_classes, least=2)
        super().__init__(name, weight, tower, label, missing_label)

    @property
    def units(self) -> int:
        return self.num_classes

    @property
    def accepts(self) -> str:
        return f"whole numbers from 0 to {self.num_classes - 1}"

    def activate(self, logits: tf.Tensor) -> tf.Tensor:
        return keras.activations.softmax(logits)

    def row_losses(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        logits = logits_of(outputs, lambda p: tf.math.log(clip(p)))
        labels = tf.cast(labels, tf.int32)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def fits(self, labels: tf.Tensor) -> tf.Tensor:
        fits = (labels >= 0) & (labels < self.num_classes)
        return fits & (tf.math.floor(labels) == labels) if labels.dtype.is_floating else fits

    def metrics(self) -> list[keras.metrics.Metric]:
        return [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            LabelledMean(self.row_losses, name="log_loss"),
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}
