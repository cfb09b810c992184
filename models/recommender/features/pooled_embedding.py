"""The embeddings of a list, pooled into one."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_int

from .row_embedding import near_zero, take_rows

POOLINGS = ("mean", "sum", "max")


@keras.saving.register_keras_serializable(package="moe_zoo")
class PooledEmbedding(keras.layers.Layer):
    """The embeddings of the indices of a list, pooled into one; index 0 is padding.

    Args:
        input_dim: `int`, rows of the table, that of the padding included.
        output_dim: `int`, D.
        pooling: `"mean"`, `"sum"` or `"max"`.
        **kwargs: `name`, `dtype`.

    Input: `<int32>[B, L]`. Output: `<float>[B, D]`, 0 for a list of padding.

    Example:

    >>> layer = PooledEmbedding(5, 3, "sum")
    >>> tuple(layer(tf.constant([[4, 2, 0], [0, 0, 0]])).shape)
    (2, 3)
    """

    def __init__(self, input_dim: int, output_dim: int, pooling: str = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        self.autocast = False  # else the whole table is cast, not its rows
        self.input_dim = check_int("input_dim", input_dim, least=1)
        self.output_dim = check_int("output_dim", output_dim, least=1)
        self.pooling = pooling

    def build(self, input_shape: tuple) -> None:
        self.embeddings = self.add_weight(
            shape=(self.input_dim, self.output_dim), initializer=near_zero(), name="embeddings"
        )

    def call(self, inputs: Any) -> Any:
        rows = tf.cast(take_rows(self.embeddings, inputs), self.compute_dtype)  # [B, L, D]
        real = tf.expand_dims(inputs != 0, -1)
        if self.pooling == "max":
            largest = tf.reduce_max(tf.where(real, rows, rows.dtype.min), 1)
            return tf.where(tf.reduce_any(real, 1), largest, tf.zeros_like(largest))
        total = tf.reduce_sum(tf.where(real, rows, tf.zeros_like(rows)), 1)
        if self.pooling == "sum":
            return total
        return total / tf.maximum(tf.reduce_sum(tf.cast(real, rows.dtype), 1), 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0], self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "pooling": self.pooling,
        }
