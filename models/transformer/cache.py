"""Keys and values that attention keeps while a text is generated."""

from typing import NamedTuple

import tensorflow as tf

from moe_zoo.plans.gathers import shape_of


class KeyValues(NamedTuple):
    """Keys and values of one attention layer; rows of the batch come first, so that beams can.

    Fields:
        keys: `<dtype>[B, H_kv, L, d]`.
        values: `<dtype>[B, H_kv, L, d]`.
    """

    keys: tf.Tensor
    values: tf.Tensor

    def at(self, place: tf.Tensor) -> tf.Tensor:
        """Return where the keys and values of one token are written: `<int32>[B, H_kv, 3]`.

        It is the same for all layers with as many heads, so that a step computes it once.

        Args:
            place: `<int32>[]` or `<int32>[B]`, the token's place among the L.
        """
        batch, heads = shape_of(self.keys)[:2]
        rows, columns = tf.meshgrid(tf.range(batch), tf.range(heads), indexing="ij")
        places = tf.broadcast_to(tf.reshape(tf.cast(place, tf.int32), [-1, 1]), [batch, heads])
        return tf.stack([rows, columns, places], -1)

    def write(self, where: tf.Tensor, new: "KeyValues") -> "KeyValues":
        """Return these keys and values with those of one more token.

        Only that token's are written where TensorFlow can reuse the memory, as in a loop.

        Args:
            where: `<int32>[B, H_kv, 3]`, as `at` returns it.
            new: `KeyValues` of one token, `[B, H_kv, 1, d]`.
        """
        return KeyValues(
            *(
                tf.tensor_scatter_nd_update(old, where, tf.squeeze(value, 2))
                for old, value in zip(self, new, strict=True)
            )
        )
