"""An embedding that reads only the rows it looks up."""

from typing import Any

import keras
import tensorflow as tf

NEAR_ZERO = 1e-3


def near_zero() -> keras.initializers.Initializer:
    """Return the initializer of a table whose rows are close to 0 until they are trained.

    Not 0 itself: where all features are embeddings, no ReLU after them would have a gradient.
    """
    return keras.initializers.RandomUniform(-NEAR_ZERO, NEAR_ZERO)


@keras.saving.register_keras_serializable(package="moe_zoo")
class RowEmbedding(keras.layers.Embedding):
    """Keras' `Embedding`, whose lookup costs as much as the batch has indices.

    Keras' reads the whole table first, which TensorFlow copies once an optimizer such as `LazyAdam`
    has written some of its rows in place.

    Example:

    >>> layer = RowEmbedding(5, 3)
    >>> tuple(layer(tf.constant([4, 2])).shape)
    (2, 3)
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(take_rows(self.embeddings, inputs), self.compute_dtype)


def take_rows(table: Any, indices: tf.Tensor) -> tf.Tensor:
    """Return rows of a table, `<float>[rows, ...]`; an export may pass floats as indices."""
    values = table.value if isinstance(table, keras.Variable) else table  # with LoRA it is a tensor
    if hasattr(values, "layout"):  # on a mesh, which cannot look up rows that are spread over it
        values = tf.convert_to_tensor(values)
    return tf.gather(values, tf.cast(indices, tf.int32))
