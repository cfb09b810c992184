"""Padding that says what the last token before it says."""

from typing import Any

import keras
import tensorflow as tf

from .padding import hidden_keys, repeat_last


@keras.saving.register_keras_serializable(package="moe_zoo")
class RepeatLast(keras.layers.Layer):
    """`<float>[B, T, D]`, `<bool>[B, T]` -> `<float>[B, T, D]`, at padding the last real token's.

    Zeros if there is none before it.

    Example:

    >>> x = tf.constant([[[7.0], [8.0], [9.0]]])
    >>> RepeatLast()(x, real=tf.constant([[False, True, False]])).numpy().ravel()
    array([0., 8., 8.], dtype=float32)
    """

    def call(self, x: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        return repeat_last(x, hidden_keys(tf.range(tf.shape(x)[1]), real))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, x_shape: tuple, real_shape: tuple | None = None) -> tuple:
        return x_shape
