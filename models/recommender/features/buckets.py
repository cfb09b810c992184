"""A number as one of several buckets."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_int, check_number, shown

from .feature import Feature, embedding


@keras.saving.register_keras_serializable(package="moe_zoo")
class Buckets(Feature):
    """A number as the bucket between two quantiles of the training part, with an embedding.

    A missing number (NaN) has an embedding of its own. Quantiles that coincide, as those of a
    number that is often 0, make one bucket: there may be fewer than asked for.

    Args:
        num_buckets: `int`, with about as many values each.
        embedding_dim: `int`.
        boundaries: list of `float`, ascending, between the buckets; `None` to have them adapted.

    Raises:
        ValueError: If a size is too small, or the boundaries do not ascend.

    Example:

    >>> feature = Buckets(3, boundaries=[10.0, 20.0])
    >>> values = tf.constant([1.0, 10.0, 99.0, float("nan")])
    >>> feature.encode(feature.make_lookup(), values).numpy().tolist()
    [1, 2, 3, 0]
    """

    kind = "buckets"
    from_data = ("boundaries",)
    dtype = "float32"
    onnx = "a search among its boundaries"

    def __init__(
        self,
        num_buckets: int = 10,
        embedding_dim: int = 8,
        boundaries: Sequence[float] | None = None,
    ):
        self.num_buckets = check_int("num_buckets", num_buckets, least=2)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, least=1)
        if boundaries is not None:
            boundaries = [check_number("boundaries", value) for value in boundaries]
        if boundaries is not None and not (np.diff(boundaries) > 0).all():
            raise ValueError(
                f"Expected boundaries that ascend. Received: boundaries={shown(boundaries)}. Sort "
                "them, each once."
            )
        self.boundaries = boundaries
        self._summary: Any = None

    @property
    def adapted(self) -> bool:
        return self.boundaries is not None

    def observe(self, values: np.ndarray) -> None:
        if self._summary is None:
            self._summary = keras.layers.Discretization(num_bins=self.num_buckets, epsilon=1e-3)
        self._summary.update_state(values.astype("float32"))

    def finish(self) -> None:
        self._summary.finalize_state()
        boundaries = np.unique(np.asarray(self._summary.bin_boundaries, "float32"))
        self.boundaries = boundaries[np.isfinite(boundaries)].tolist()

    def make_lookup(self) -> keras.layers.Layer:
        layer = keras.layers.Discretization(bin_boundaries=self.boundaries or [0.0])
        layer.build((None,))
        return layer

    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.math.is_nan(values), 0, tf.cast(lookup(values), tf.int32) + 1)

    @property
    def size(self) -> int:
        """The number of rows of the embedding: a missing number's and each bucket's."""
        return len(self.boundaries or [0.0]) + 2

    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        return embedding(self.size, self.embedding_dim, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "num_buckets": self.num_buckets,
            "embedding_dim": self.embedding_dim,
            "boundaries": self.boundaries,
        }
