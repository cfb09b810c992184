"""The base class of features."""

import abc
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from .column_types import as_dtype
from .columns import as_column, as_rows
from .row_embedding import RowEmbedding, near_zero


class Feature(abc.ABC):
    """One column of a table: how its raw values become numbers, and these a part of the input.

    A feature is a small description without weights or tables. `adapt` sets the arguments that were
    left `None`, so that an adapted feature's configuration holds all that it learned.

    Its subclasses say:

    - `dtype`: `"float32"`, `"int64"` or `"string"` as the raw values are read, `None` as long as
      that is not known;
    - `adapted`: `bool`, whether it can be used;
    - `observe(values)` and `finish()`: the values of the training part, batch by batch, flat and
      without missing ones; then what follows from them;
    - `make_lookup()` and `encode(lookup, values)`: the Keras preprocessing layer, and raw values of
      any shape as numbers of the same shape;
    - `make_layer(name, dtype)`: the Keras layer that takes the numbers to `<dtype>[B, D]`.

    A subclass with a `kind` can be named by it in a table's settings, whose options are the
    arguments of its constructor except `from_data`.
    """

    kinds: ClassVar[dict[str, type["Feature"]]] = {}  # by `kind`
    kind: ClassVar[str]
    from_data: ClassVar[tuple[str, ...]] = ()  # arguments that follow from the data
    is_list = False  # whether a row holds several values
    separator: str | None = None  # that stands between them, if they come as one string
    encoded_dtype = "int32"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            Feature.kinds[cls.kind] = cls

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the arguments that do not follow from the data: `dict` of defaults by name."""
        parameters = inspect.signature(cls).parameters
        return {name: x.default for name, x in parameters.items() if name not in cls.from_data}

    @property
    @abc.abstractmethod
    def dtype(self) -> str | None:
        pass

    @property
    @abc.abstractmethod
    def adapted(self) -> bool:
        pass

    @property
    def missing(self) -> str | int | None:
        """The value that means missing; `None` for NaN, or as long as it is not known."""
        return None

    @property
    def onnx(self) -> str | None:
        """What its preprocessing needs and ONNX does not have; `None` if there is nothing."""
        return None

    @abc.abstractmethod
    def observe(self, values: np.ndarray) -> None:
        pass

    @abc.abstractmethod
    def finish(self) -> None:
        pass

    @abc.abstractmethod
    def make_lookup(self) -> keras.layers.Layer:
        pass

    @abc.abstractmethod
    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        pass

    @abc.abstractmethod
    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        pass

    def column(self, name: str, values: Any) -> tf.Tensor:
        """Return a raw column as a tensor of its values' type, `[B]`, or `[B, L]` of lists."""
        missing = -1 if self.missing is None and self.dtype is None else self.missing
        values = as_column(name, values, missing if isinstance(missing, int) else None)
        return as_rows(name, values, self.is_list, self.separator)

    def read(self, name: str, values: Any) -> tf.Tensor:
        """Return a raw column in this feature's `dtype`, `[B]`, or `[B, L]` of lists."""
        return as_dtype(name, self.column(name, values), self.dtype or "string", self.missing)

    def copy(self) -> "Feature":
        """Return another feature with the same configuration."""
        return type(self).from_config(self.get_config())

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Feature":
        return cls(**config)

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        pass

    def __repr__(self) -> str:
        """Return the call that makes it: `Hashed(num_bins=100, embedding_dim=8)`."""
        shown = {k: getattr(self, k, v) for k, v in self.get_config().items() if v is not None}
        return f"{type(self).__name__}({', '.join(f'{k}={_short(v)}' for k, v in shown.items())})"


def make_feature(description: Mapping[str, Any], embedding_dim: int | None = None) -> Feature:
    """Make the feature that plain data describe, such as a table's settings.

    Args:
        description: `kind`, and arguments of its class by name; the `feature` of a list is a
            description too.
        embedding_dim: Size of an embedding whose description has none; `None` is its class' own.

    Example:

    >>> make_feature({"kind": "hashed", "num_bins": 100}, embedding_dim=4)
    Hashed(num_bins=100, embedding_dim=4)
    """
    options = dict(description)
    kind = Feature.kinds[options.pop("kind")]
    if "feature" in options:
        options["feature"] = make_feature(options["feature"], embedding_dim)
    if embedding_dim is not None and "embedding_dim" in kind.options():
        options.setdefault("embedding_dim", embedding_dim)
    return kind(**options)


def embedding(input_dim: int, output_dim: int, name: str, dtype: Any) -> RowEmbedding:
    """Return the layer that looks up a row of a table for each index."""
    return RowEmbedding(input_dim, output_dim, near_zero(), name=f"{name}_embedding", dtype=dtype)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
