"""Which tokens are no padding."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import LARGEST_SIZE, check_bool, check_int


@keras.saving.register_keras_serializable(package="moe_zoo")
class PaddingMask(keras.layers.Layer):
    """`<int32>[B, T]` -> `<bool>[B, T]`: whether a token is none of `pad_id`.

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
