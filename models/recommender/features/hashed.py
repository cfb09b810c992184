"""A string or whole number by its hash."""

import keras
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
        missing: the value that says that there is none; `None` for `""` among strings, -1 among
            whole numbers (NaN where they come as floats).

    Raises:
        ValueError: a size that is too small, or an unknown dtype.

    Example:

    >>> feature = Hashed(100, dtype="int64")
    >>> indices = feature.encode(feature.make_lookup(), tf.constant([2**60, -1], "int64"))
    >>> 1 <= int(indices[0]) < 100, int(indices[1])
    (True, 0)
    """

    onnx = "a hash of its values"

    def __init__(self, num_bins, embedding_dim=8, dtype=None, missing=None):
        self.num_bins = check_int("num_bins", num_bins, least=2)
        self.embedding_dim = check_int("embedding_dim", embedding_dim, least=1)
        if dtype is not None:
            check_choice("dtype", dtype, MISSING, "Leave it None to have it adapted.")
        self._dtype = dtype
        self._missing = missing

    @property
    def dtype(self):
        return self._dtype

    @property
    def adapted(self):
        return self._dtype is not None

    @property
    def missing(self):
        """The value that says that there is none; `None` as long as the type is not known."""
        return MISSING.get(self.dtype) if self._missing is None else self._missing

    def is_missing(self, values):
        default = "" if values.dtype.kind == "O" else -1
        return values == (default if self._missing is None else self._missing)

    def observe(self, values):
        self._dtype = "string" if values.dtype.kind == "O" else "int64"

    def finish(self):
        pass

    def make_lookup(self):
        layer = keras.layers.Hashing(self.num_bins, mask_value=self.missing)
        layer.build((None,))
        return layer

    def encode(self, lookup, values):
        return tf.cast(lookup(values), tf.int32)

    @property
    def size(self):
        """The number of rows of the embedding."""
        return self.num_bins

    def make_layer(self, name, dtype):
        return embedding(self.size, self.embedding_dim, name, dtype)

    def get_config(self):
        return {
            "num_bins": self.num_bins,
            "embedding_dim": self.embedding_dim,
            "dtype": self._dtype,
            "missing": self._missing,
        }
