"""A number, normalised."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_at_least, check_bool, check_number, shown

from .feature import Feature


@keras.saving.register_keras_serializable(package="moe_zoo")
class Number(Feature):
    """A number with the training part's mean subtracted, divided by its standard deviation.

    A missing number (NaN), or an infinite one, becomes 0, the mean. Numbers are read as float32.

    Args:
        log1p: `bool`, take `sign(x) log(1 + |x|)` first, for amounts and counts.
        mean: `float`, `None` to have it adapted.
        variance: `float`, `None` to have it adapted.

    Raises:
        ValueError: If only one of `mean` and `variance` is given, or `variance` is negative.

    Example:

    >>> feature = Number(mean=10.0, variance=4.0)
    >>> feature.encode(feature.make_lookup(), tf.constant([12.0, float("nan")])).numpy().tolist()
    [1.0, 0.0]
    """

    kind = "number"
    from_data = ("mean", "variance")
    encoded_dtype = "float32"
    dtype = "float32"

    def __init__(
        self, log1p: bool = False, mean: float | None = None, variance: float | None = None
    ):
        if (mean is None) != (variance is None):
            raise ValueError(
                "Expected both mean and variance, or none of them to have them adapted. Received: "
                f"mean={shown(mean)}, variance={shown(variance)}. A variance is at least 0."
            )
        self.log1p = check_bool("log1p", log1p)
        self.mean: Any = None if mean is None else check_number("mean", mean)
        self.variance: Any = None
        if variance is not None:
            self.variance = check_at_least(
                "variance", variance, 0.0, "It is the mean square of the deviations."
            )
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    @property
    def adapted(self) -> bool:
        return self.mean is not None

    def observe(self, values: np.ndarray) -> None:
        if self.log1p:
            values = np.sign(values) * np.log1p(np.abs(values))
        # The moments of two parts together, in float64 (Chan et al. 1979).
        values = values.astype("float64")
        difference = values.mean() - self._mean
        count = self._count + len(values)
        self._squares += values.var() * len(values)
        self._squares += difference**2 * self._count * len(values) / count
        self._mean += difference * len(values) / count
        self._count = count

    def finish(self) -> None:
        self.mean, self.variance = float(self._mean), float(self._squares / self._count)

    @property
    def deviation(self) -> float:
        """The standard deviation by which numbers are divided: 1 if they never varied."""
        return 1.0 if self._constant else math.sqrt(self.variance)

    @property
    def _constant(self) -> bool:
        # Such values tell nothing: one that differs later is not to become huge.
        return math.sqrt(self.variance) <= 1e-6 * abs(self.mean)

    def make_lookup(self) -> keras.layers.Layer:
        variance = 1.0 if self._constant else self.variance
        layer = keras.layers.Normalization(
            axis=None, mean=self.mean, variance=variance, dtype="float32"
        )
        layer.build((None,))
        return layer

    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        if self.log1p:
            values = tf.sign(values) * tf.math.log(1 + tf.abs(values))  # ONNX has no log1p
        # Infinity becomes NaN; ONNX has a Where for is_nan only, and 0 * NaN for other conditions.
        numbers = lookup(values) + values * 0.0
        return tf.where(tf.math.is_nan(numbers), 0.0, numbers)

    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        return keras.layers.Reshape((1,), name=f"{name}_number", dtype="float32")

    def get_config(self) -> dict[str, Any]:
        return {"log1p": self.log1p, "mean": self.mean, "variance": self.variance}
