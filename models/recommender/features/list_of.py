"""Several values in each row."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_choice, shown

from .feature import Feature
from .pooled_embedding import POOLINGS, PooledEmbedding


@keras.saving.register_keras_serializable(package="moe_zoo")
class ListOf(Feature):
    """Several values in each row, their embeddings pooled into one; without any it is 0.

    Rows may come as lists of any length, as a ragged tensor, as an array padded with the value
    that the feature takes for missing (`""`, -1, NaN), or as a string with a separator.

    Args:
        feature: a `Category`, `Hashed` or `Buckets`, of each value.
        pooling: `"mean"`, `"sum"` or `"max"`.
        separator: `str` that stands between the values of a row's string, with or without spaces
            around; `None` if rows are lists.

    Raises:
        ValueError: If `feature` has no embedding, `pooling` is unknown, or `separator` is empty.

    Example:

    >>> from moe_zoo.models.recommender.features import Category
    >>> feature = ListOf(Category(vocabulary=["drama", "crime"]))
    >>> rows = tf.ragged.constant([["crime", "drama"], []])
    >>> feature.encode(feature.make_lookup(), rows).numpy().tolist()
    [[3, 2], [0, 0]]
    """

    kind = "list"
    is_list = True

    def __init__(self, feature: Feature, pooling: str = "mean", separator: str | None = None):
        if not (isinstance(feature, Feature) and hasattr(feature, "embedding_dim")):
            raise ValueError(
                "Expected a feature with an embedding, such as Category, Hashed or Buckets. "
                f"Received: feature={shown(feature)}. Numbers of a fixed count are a Number each."
            )
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise ValueError(
                "Expected a text of one letter or more, or None. Received: "
                f"separator={shown(separator)}. It stands between the values of a row's string."
            )
        check_choice("pooling", pooling, POOLINGS, "The mean does not grow with a list's length.")
        self.feature: Any = feature  # with an embedding
        self.pooling, self.separator = pooling, separator

    @property
    def dtype(self) -> str | None:
        return self.feature.dtype

    @property
    def adapted(self) -> bool:
        return self.feature.adapted

    @property
    def onnx(self) -> str | None:
        return self.feature.onnx

    @property
    def missing(self) -> str | int | None:
        """The value that pads a list of whole numbers or strings."""
        return self.feature.missing

    def observe(self, values: np.ndarray) -> None:
        self.feature.observe(values)

    def finish(self) -> None:
        self.feature.finish()

    def make_lookup(self) -> keras.layers.Layer:
        return self.feature.make_lookup()

    def encode(self, lookup: keras.layers.Layer, values: tf.Tensor) -> tf.Tensor:
        if not isinstance(values, tf.RaggedTensor):
            return self.feature.encode(lookup, values)
        flat = self.feature.encode(lookup, values.flat_values)
        return values.with_flat_values(flat).to_tensor(0)

    @property
    def size(self) -> int:
        """The number of rows of the embedding."""
        return self.feature.size

    def make_layer(self, name: str, dtype: Any) -> keras.layers.Layer:
        return PooledEmbedding(
            self.size,
            self.feature.embedding_dim,
            self.pooling,
            name=f"{name}_embedding",
            dtype=dtype,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "feature": keras.saving.serialize_keras_object(self.feature),
            "pooling": self.pooling,
            "separator": self.separator,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Feature":
        feature = keras.saving.deserialize_keras_object(config["feature"])
        return cls(**{**config, "feature": feature})
