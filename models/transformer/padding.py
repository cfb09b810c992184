"""Rows with padding anywhere: which tokens are real, what they see, and what padding returns."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import LARGEST_SIZE, check_bool, check_int


def positions_of(token_mask: tf.Tensor) -> tf.Tensor:
    """Return the position of each token: the number of real tokens before it.

    Args:
        token_mask: `<bool>[B, T]`, which tokens are no padding.

    Returns:
        `<int32>[B, T]`.

    Example:

    >>> positions_of(tf.constant([[False, True, False, True]])).numpy()
    array([[0, 0, 1, 1]], dtype=int32)
    """
    return tf.cumsum(tf.cast(token_mask, tf.int32), axis=1, exclusive=True)


def hidden_keys(places: tf.Tensor, token_mask: tf.Tensor | None = None) -> tf.Tensor:
    """Return which keys a token does not see: later ones and padding.

    Args:
        places: `<int32>[T]`.
        token_mask: `<bool>[B, T]`, or `None` for rows without padding.

    Returns:
        `<bool>[B or 1, T queries, T keys]`.
    """
    later = tf.expand_dims(tf.expand_dims(places, 0) > tf.expand_dims(places, 1), 0)
    return later if token_mask is None else later | ~tf.expand_dims(token_mask, 1)


def repeat_last(x: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Return x with padding replaced by the last real token before it, or by zeros.

    Args:
        x: `<dtype>[B, T, D]`.
        hidden: `<bool>[B, T, T]`, as `hidden_keys` returns it.

    Returns:
        `<dtype>[B, T, D]`.

    Example:

    >>> token_mask = tf.constant([[False, True, False]])
    >>> x = tf.constant([[[7.0], [8.0], [9.0]]])
    >>> repeat_last(x, hidden_keys(tf.range(3), token_mask)).numpy().ravel()
    array([0., 8., 8.], dtype=float32)
    """
    last = tf.reduce_max(tf.where(hidden, -1, tf.range(tf.shape(x)[1])), axis=2)  # [B, T]
    values = tf.gather(x, tf.maximum(last, 0), batch_dims=1)
    return tf.where(tf.expand_dims(last, -1) < 0, tf.zeros([], x.dtype), values)


@keras.saving.register_keras_serializable(package="moe_zoo")
class PaddingMask(keras.layers.Layer):
    """`<int32>[B, T]` -> `<bool>[B, T]`: whether a token is other than `pad_id`.

    Args:
        pad_id: `int`.
        keep_first: `bool`, the first token of a row is real whatever it is: T5 starts a text with
            the padding's id.
        **kwargs: `name`.

    Example:

    >>> PaddingMask(pad_id=0, keep_first=True)(tf.constant([[0, 7, 0]])).numpy()
    array([[ True,  True, False]])
    """

    def __init__(self, pad_id: int = 0, keep_first: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.pad_id = check_int("pad_id", pad_id, least=-LARGEST_SIZE)
        self.keep_first = check_bool("keep_first", keep_first)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        token_mask = tf.not_equal(tokens, self.pad_id)
        if self.keep_first:
            first = tf.equal(tf.range(tf.shape(tokens)[1]), 0)
            token_mask = tf.logical_or(token_mask, tf.expand_dims(first, 0))
        return token_mask

    def at(self, tokens: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Return the mask of one token of each row.

        Args:
            tokens: `<int32>[B]`.
            place: `<int32>[]`, the place of the token in its row.

        Returns:
            `<bool>[B]`.
        """
        token_mask = tf.not_equal(tokens, self.pad_id)
        return tf.logical_or(token_mask, tf.equal(place, 0)) if self.keep_first else token_mask

    def compute_output_spec(self, tokens: tf.Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(tokens.shape, dtype="bool")

    def get_config(self) -> dict:
        return {**super().get_config(), "pad_id": self.pad_id, "keep_first": self.keep_first}


@keras.saving.register_keras_serializable(package="moe_zoo")
class RepeatLast(keras.layers.Layer):
    """`<float>[B, T, D]`, `<bool>[B, T]` -> `<float>[B, T, D]`, at padding the last real token's.

    Zeros if there is no token before it.

    Example:

    >>> x = tf.constant([[[7.0], [8.0], [9.0]]])
    >>> RepeatLast()(x, token_mask=tf.constant([[False, True, False]])).numpy().ravel()
    array([0., 8., 8.], dtype=float32)
    """

    def call(self, x: tf.Tensor, token_mask: tf.Tensor) -> tf.Tensor:
        return repeat_last(x, hidden_keys(tf.range(tf.shape(x)[1]), token_mask))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, x_shape: tuple, token_mask_shape: tuple | None = None) -> tuple:
        return x_shape


@keras.saving.register_keras_serializable(package="moe_zoo")
class TokenMean(keras.layers.Layer):
    """`<float>[B, T, D]`, `<bool>[B, T]` -> `<float>[B, D]`, the mean of the real tokens.

    It is 0 for a row without any. Summed in float32.

    Example:

    >>> x = tf.constant([[[1.0], [3.0], [8.0]]])
    >>> TokenMean()(x, token_mask=tf.constant([[True, True, False]])).numpy()
    array([[2.]], dtype=float32)
    """

    def call(self, x: tf.Tensor, token_mask: tf.Tensor) -> tf.Tensor:
        weights = tf.cast(token_mask, tf.float32)
        total = tf.reduce_sum(tf.cast(x, tf.float32) * tf.expand_dims(weights, -1), 1)
        count = tf.maximum(tf.reduce_sum(weights, 1, keepdims=True), 1.0)
        return tf.cast(total / count, self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None

    def compute_output_shape(self, x_shape: tuple, token_mask_shape: tuple | None = None) -> tuple:
        return (x_shape[0], x_shape[-1])
