"""A string or whole number by its hash."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_choice, check_int

from .category import MISSING
from .feature import Feature, embedding


@keras.saving.register_keras_serializable(package="moe_zoo")
class Hashed(Feature):
    """A string or whole number by its hash, with an embedding: for ids too many for a vocabulary.

    Index 0 is for a missing value, 1 to `num_bins - 1` for hashes; values may share one.

    Args:
        num_bins: `int`, rows of the embedding.
        embedding_dim: `int`.
        dtype: `"string"` or `"int64"`; `None` to have it adapted.
        missing: the value that means missing; `None` for `""` among strings, -1 among
            whole numbers (NaN where they come as floats).

    Raises:
        ValueError: If a size is too small, or `dtype` is unknown.

    Example:

    >>> feature = Hashed(100, dtype="int64")
    >>> indices = feature.encode(feature.make_lookup(), tf.constant([2**60, -1], "int64"))
    >>> 1 <= int(indices[0]) < 100, int(indices[1])
    (True, 0)
    """

    kind = "hashed"
    from_data = ("dtype", "missing")
    onnx = "a hash of its values"

    def __init__(
        self,
        num_bins: int = 10_000,
        embedding_dim: int = 8,
        dtype: str | None = None,
        missing: str | int | None = None,
    ):
        self.num_bins = check_int("num_bins", num_bins, least=2)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, least=1)
        if dtype is not None:
            check_choice("dtype", dtype, MISSING, "Leave it None to have it adapted.")
        self._dtype = dtype
        self._missing = missing

    @property
    def dtype(self) -> str | None:
        return self._dtype

    @property
    def adapted(self) -> bool:
        return self._dtype is not None

    @property
    def missing(self) -> str | int | None:
        """The value that means missing; `None` as long as the type is not known."""
        return MISSING.get(self.dtype) if self._missing is None else self._missing

    def observe(self, values: np.ndarray) -> None:
        self._dtype = "string" if values.dtype.kind == "O" else "int64"

    def finish(self) -> None:
        pass

    def make_lookup(self) -> keras.layers.Layer:
        layer = keras.layers.Hashing(self.num_bins, mask_value=self.missing)
        layer.build((None,))
        return layer

    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        return tf.cast(lookup(values), tf.int32)

    @property
    def size(self) -> int:
        """The number of rows of the embedding."""
        return self.num_bins

    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        return embedding(self.size, self.embedding_dim, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "embedding_dim": self.embedding_dim,
            "dtype": self._dtype,
            "missing": self._missing,
        }
