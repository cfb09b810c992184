"""Keys and values that attention keeps while a text is generated."""

from typing import NamedTuple

import tensorflow as tf

from moe_zoo.dispatch import shape_of


class KeyValues(NamedTuple):
    """Keys and values of one attention layer; rows of the batch come first, so that beams can.

    Fields:
        keys: `<dtype>[B, H_kv, L, d]`.
        values: `<dtype>[B, H_kv, L, d]`.
    """

    keys: tf.Tensor
    values: tf.Tensor

    def write(self, place, new):
        """These keys and values with those of one more token.

        Only that token's are written, where TensorFlow can reuse the memory, as in a loop.

        Args:
            place: `<int32>[]`, the token's place among the L.
            new: `KeyValues` of one token, `[B, H_kv, 1, d]`.
        """
        return KeyValues(
            *(write_at(old, place, value) for old, value in zip(self, new, strict=True))
        )


def write_at(cache, place, value):
    """`cache[:, :, place] = value`: `<dtype>[B, H, L, d]`, `<int32>[]`, `<dtype>[B, H, 1, d]`."""
    batch, heads = shape_of(cache)[:2]
    rows, columns = tf.meshgrid(tf.range(batch), tf.range(heads), indexing="ij")
    index = tf.stack([rows, columns, tf.fill([batch, heads], tf.cast(place, tf.int32))], -1)
    return tf.tensor_scatter_nd_update(cache, index, tf.squeeze(value, 2))
