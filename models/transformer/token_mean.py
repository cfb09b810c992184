"""The mean of a row's tokens."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="moe_zoo")
class TokenMean(keras.layers.Layer):
    """`<float>[B, T, D]`, `<bool>[B, T]` -> `<float>[B, D]`, the mean of the real tokens.

    It is 0 for a row without any. Summed in float32.

    Example:

    >>> x = tf.constant([[[1.0], [3.0], [8.0]]])
    >>> TokenMean()(x, real=tf.constant([[True, True, False]])).numpy()
    array([[2.]], dtype=float32)
    """

    def call(self, x: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        weights = tf.cast(real, tf.float32)
        total = tf.reduce_sum(tf.cast(x, tf.float32) * tf.expand_dims(weights, -1), 1)
        count = tf.maximum(tf.reduce_sum(weights, 1, keepdims=True), 1.0)
        return tf.cast(total / count, self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, x_shape: tuple, real_shape: tuple | None = None) -> tuple:
        return (x_shape[0], x_shape[-1])
