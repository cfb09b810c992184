"""Batches of encoded rows in memory, for many epochs."""

from typing import Any

import keras
import tensorflow as tf


def batches_of(
    arrays: Any, batch_size: int, seed: int | None = None, epoch: int = 0
) -> tf.data.Dataset:
    """Return batches of arrays that stay in memory.

    Args:
        arrays: Nested dicts and tuples of arrays with the same number of rows.
        batch_size: Rows in a batch; the last batch of an epoch may be smaller.
        seed: Seed of endless epochs, each in another order; `None` for one epoch in the given
            order.
        epoch: Number of the first epoch.

    Returns:
        `tf.data.Dataset`.

    Example:

    >>> [batch.tolist() for batch in batches_of(tf.range(5), 2).as_numpy_iterator()]
    [[0, 1], [2, 3], [4]]
    """
    total = len(keras.tree.flatten(arrays)[0])
    held = keras.tree.map_structure(tf.constant, arrays)

    def order(number: Any) -> tf.data.Dataset:
        places = tf.range(total, dtype=tf.int64)
        if seed is not None:
            places = tf.random.experimental.stateless_shuffle(places, tf.stack([seed, number]))
        return tf.data.Dataset.from_tensor_slices(places).batch(batch_size)

    if seed is None:
        places = order(epoch)
    else:
        places = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(order)
        places = places.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def rows(taken: tf.Tensor) -> Any:
        return keras.tree.map_structure(lambda values: tf.gather(values, taken), held)

    return places.map(rows, num_parallel_calls=2).prefetch(2)
