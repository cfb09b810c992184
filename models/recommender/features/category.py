"""A string or whole number out of a vocabulary."""

import collections
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_int, shown

from .feature import Feature, embedding

MISSING: dict[str | None, Any] = {"string": "", "int64": -1}


@keras.saving.register_keras_serializable(package="moe_zoo")
class Category(Feature):
    """A string or whole number out of a vocabulary, with an embedding.

    Index 0 is for a missing value, 1 for one that is not in the vocabulary, the rest for the
    vocabulary in its order; each has its row in the embedding. That of unknown values is learned
    where training has some (`max_size`, `min_count`), else it stays near zero: see
    `HideValues`.

    Args:
        embedding_dim: `int`.
        vocabulary: list of `str` or of `int`; `None` to have it adapted: the values of the training
            part, the most frequent first.
        max_size: `int`, of an adapted vocabulary; `None` for all.
        min_count: `int`, how often a value must occur to be in an adapted vocabulary.
        missing: the value that means missing; `None` for `""` among strings, -1 among
            whole numbers (NaN where they come as floats).

    Raises:
        ValueError: If a size is too small, or the vocabulary has a value twice, values of several
            types, or the missing one.

    Example:

    >>> feature = Category(vocabulary=["red", "green"])
    >>> values = tf.constant(["green", "", "mauve"])
    >>> feature.encode(feature.make_lookup(), values).numpy().tolist()
    [3, 0, 1]
    """

    kind = "category"
    from_data = ("vocabulary", "missing")
    onnx = "a lookup of its values in a table"

    def __init__(
        self,
        embedding_dim: int = 8,
        vocabulary: Sequence[str] | Sequence[int] | None = None,
        max_size: int | None = None,
        min_count: int = 1,
        missing: str | int | None = None,
    ):
        self.embedding_dim = check_int("embedding_dim", embedding_dim, least=1)
        self.min_count = check_int("min_count", min_count, least=1)
        self.max_size = max_size if max_size is None else check_int("max_size", max_size, least=1)
        self._missing = missing
        self._counts: collections.Counter = collections.Counter()
        self.vocabulary = None if vocabulary is None else _check_vocabulary(vocabulary, missing)

    @property
    def dtype(self) -> str | None:
        if self.vocabulary is not None:
            return "string" if isinstance(self.vocabulary[0], str) else "int64"
        return None

    @property
    def adapted(self) -> bool:
        return self.vocabulary is not None

    @property
    def missing(self) -> str | int | None:
        """The value that means missing; `None` as long as the type is not known."""
        return MISSING.get(self.dtype) if self._missing is None else self._missing

    def observe(self, values: np.ndarray) -> None:
        found, counts = np.unique(values, return_counts=True)
        self._counts.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def finish(self) -> None:
        kept = [item for item in self._counts.items() if item[1] >= self.min_count]
        kept.sort(key=lambda item: (-item[1], item[0]))
        if not kept:
            raise ValueError(
                f"Expected a value that occurs at least {self.min_count} times. Received: "
                f"min_count={self.min_count}, where the most frequent one occurs "
                f"{max(self._counts.values())} times. Lower it."
            )
        self.vocabulary = [value for value, _ in kept[: self.max_size]]
        self._counts.clear()

    def make_lookup(self) -> keras.layers.Layer:
        make = keras.layers.StringLookup if self.dtype == "string" else keras.layers.IntegerLookup
        layer = make(vocabulary=self.vocabulary, mask_token=self.missing, num_oov_indices=1)
        layer.build((None,))
        return layer

    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        return tf.cast(lookup(values), tf.int32)

    @property
    def size(self) -> int:
        """The number of rows of the embedding."""
        return len(self.vocabulary or ()) + 2

    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        return embedding(self.size, self.embedding_dim, name, dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "embedding_dim": self.embedding_dim,
            "vocabulary": self.vocabulary,
            "max_size": self.max_size,
            "min_count": self.min_count,
            "missing": self._missing,
        }


def _check_vocabulary(vocabulary: Sequence, missing: str | int | None) -> list:
    values = np.asarray(vocabulary).tolist()
    if not isinstance(values, list):  # a text, or a set, which has no order
        values = []
    text = bool(values) and isinstance(values[0], str)
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    mixed = text and any(not isinstance(value, str) for value in vocabulary)
    if not values or mixed or not (text or whole):
        raise ValueError(
            "Expected a vocabulary of strings or of whole numbers. Received: "
            f"vocabulary={shown(vocabulary)}. Leave it None to have it adapted."
        )
    missing = MISSING["string" if text else "int64"] if missing is None else missing
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice or missing in values:
        raise ValueError(
            "Expected a vocabulary with each value once, without the one that stands for a missing "
            f"value ({shown(missing)}). Received: {shown((twice or [missing])[0])} "
            f"{'twice' if twice else 'in it'}. Take it out, or set `missing` to another value."
        )
    return values
