"""T5's relative positions: a learned number for each range of distances and each head."""

import math
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_int

from .positions import Positions


def relative_buckets(
    distance: tf.Tensor, num_buckets: int, max_distance: int, bidirectional: bool
) -> tf.Tensor:
    """Return the bucket of each distance.

    Half of the buckets hold one distance each, `0 <= d < n / 2`, the others ranges that grow
    logarithmically, `n/2 + floor(n/2 * ln(d / (n/2)) / ln(max_distance / (n/2)))`, and the last one
    all that is farther. With `bidirectional` the keys after the query have the upper half of all
    buckets to themselves; else all of them fall in bucket 0.

    Args:
        distance: `<int32>[...]`, position of the key minus that of the query.
        num_buckets: `int`.
        max_distance: `int`, from which on all distances are one.
        bidirectional: `bool`.

    Returns:
        `<int32>[...]`.

    Example:

    >>> relative_buckets(tf.constant([-200, -9, -1, 0, 1]), 32, 128, bidirectional=True).numpy()
    array([15,  8,  1,  0, 17], dtype=int32)
    """
    distance = tf.cast(distance, tf.int32)
    if bidirectional:
        size = num_buckets // 2
        start = tf.where(distance > 0, size, 0)
        distance = tf.abs(distance)
    else:
        size, start = num_buckets, 0
        distance = tf.maximum(-distance, 0)
    exact = size // 2
    ratio = tf.cast(tf.maximum(distance, 1), tf.float32) / exact
    steps = tf.math.log(ratio) / math.log(max_distance / exact) * (size - exact)
    far = tf.minimum(exact + tf.cast(steps, tf.int32), size - 1)
    return start + tf.where(distance < exact, distance, far)


@keras.saving.register_keras_serializable(package="moe_zoo")
class RelativePositions(Positions):
    """Relative positions: the score of a query and a key gets a number that their distance has.

    `score_h(q, k) += table[bucket(k - q), h]`, with one table for all blocks of a stack. A causal
    stack spends all buckets on earlier keys.

    Args:
        num_buckets: `int`, ranges of distances, for both directions together.
        max_distance: `int`, from which on all distances are one.
        initializer: Keras initializer of the table.
        num_heads: `int` or `None`, H; a stack sets it.
        causal: `bool`, whether no token looks at later ones; a stack sets it.
        **kwargs: `name`.

    Raises:
        ValueError: If 4 does not divide `num_buckets`, or `max_distance` is among the distances
            that have a bucket of their own.

    Example:

    >>> positions = RelativePositions(num_heads=2)
    >>> positions.build()
    >>> tuple(positions.bias(tf.range(3), tf.range(5)).shape)
    (1, 2, 3, 5)

    Reference: Raffel et al., "T5", JMLR 2020, arXiv 1910.10683, section 2.1.
    """

    def __init__(
        self,
        num_buckets: int = 32,
        max_distance: int = 128,
        initializer: str | keras.initializers.Initializer = "glorot_uniform",
        num_heads: int | None = None,
        causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(num_heads, causal, **kwargs)
        self.num_buckets = check_int("num_buckets", num_buckets, least=4)
        if self.num_buckets % 4:
            raise ValueError(
                f"Expected a number of buckets that 4 divides. Received: num_buckets={num_buckets}."
                " T5 has 32."
            )
        self.max_distance = check_int("max_distance", max_distance, least=1)
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"Expected a distance above num_buckets / 2 = {self.num_buckets // 2}. Received: "
                f"max_distance={max_distance}. T5 has 128 for 32 buckets."
            )
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: tuple | None = None) -> None:
        if self.num_heads is None:
            raise ValueError(
                "Expected positions that know their heads. Received: num_heads=None. Put them into "
                "a TransformerStack, or give num_heads to use them alone."
            )
        self.table = self.add_weight(
            name="table",
            shape=(self.num_buckets, self.num_heads),
            initializer=self.initializer,
            autocast=False,  # scores are float32 under every policy
        )

    def bias(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        distance = tf.expand_dims(keys, -2) - tf.expand_dims(queries, -1)
        buckets = relative_buckets(
            distance, self.num_buckets, self.max_distance, bidirectional=not self.causal
        )
        scores = tf.gather(tf.convert_to_tensor(self.table), buckets)  # [(B,) Q, L, H]
        scores = scores if len(scores.shape) == 4 else tf.expand_dims(scores, 0)
        return tf.transpose(scores, [0, 3, 1, 2])

    def rotate(self, x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        return x

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_buckets": self.num_buckets,
            "max_distance": self.max_distance,
            "initializer": keras.initializers.serialize(self.initializer),
        }
