"""A number to predict."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_number, shown

from .logits import logits_of
from .task import Task

ADVICE = "Take it from the labels of the training part."


@keras.saving.register_keras_serializable(package="moe_zoo")
class RegressionTask(Task):
    """A number: the loss is the squared error, the metric `rmse` its root.

    With the mean `m` and the deviation `d` of the labels in the training part, the output is
    `m + d z` for a logit `z`, and the loss `((y - m) / d - z)^2` of the standardized label: outputs
    and `rmse` are in the label's units, the loss is near 1 in any units. Without them labels have
    to be near 0 with a spread near 1, or their loss drowns that of other tasks; `fit` warns.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        weight: `float`, of its loss.
        tower: hidden units of its own layers after the mixing.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.
        mean: `float`, of the labels of the training part.
        deviation: `float`, their standard deviation.
        missing_label: `int` that means a missing label, as NaN does, such as -1; `None` if all
            whole numbers are labels.

    Raises:
        ValueError: If `name` is not a text without '/', `weight` is negative, or a size is not
            positive, `mean` is not finite, or `deviation` is not positive and finite.

    Example:

    >>> task = RegressionTask("rating")
    >>> task.row_losses(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [4.0]
    >>> task = RegressionTask("price", mean=1000.0, deviation=50.0)
    >>> prices = task.output(tf.constant([[-1.0], [0.5]]))
    >>> prices.numpy().tolist()
    [950.0, 1025.0]
    >>> task.row_losses(tf.constant([1000.0, 1025.0]), prices).numpy().tolist()
    [1.0, 0.0]
    """

    uncertainty_scale = 0.5
    accepts = "finite numbers"

    def __init__(
        self,
        name: str,
        weight: float = 1.0,
        tower: Sequence[int] = (8,),
        label: bool = True,
        mean: float = 0.0,
        deviation: float = 1.0,
        missing_label: int | None = None,
    ):
        super().__init__(name, weight, tower, label, missing_label)
        self.mean = check_number("mean", mean, ADVICE)
        self.deviation = check_number("deviation", deviation, ADVICE)
        if self.deviation <= 0:
            raise ValueError(
                f"Expected a deviation above 0. Received: deviation={shown(deviation)} of task "
                f"{shown(name)}. Labels that never vary cannot be learned; 1.0 leaves them as they "
                "are."
            )

    def activate(self, logits: tf.Tensor) -> tf.Tensor:
        outputs = self.mean + self.deviation * logits
        outputs._keras_logits = logits  # the loss is not to lose the digits that a large mean takes
        return outputs

    def standardize(self, values: tf.Tensor) -> tf.Tensor:
        """Return `(values - mean) / deviation`, `<float32>`, computed in float64."""
        values = (tf.cast(values, tf.float64) - self.mean) / self.deviation
        return tf.cast(values, tf.float32)

    def row_losses(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        logits = logits_of(outputs, self.standardize)
        return tf.square(self.standardize(labels) - logits)

    def fits(self, labels: tf.Tensor) -> tf.Tensor:
        return tf.math.is_finite(tf.cast(labels, tf.float32))

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.RootMeanSquaredError(name="rmse")]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}
