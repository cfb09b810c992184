"""Rows in memory that are numbers already, as batches for many epochs."""

import keras
import numpy as np
import tensorflow as tf


def encode(encoder, features, rows=65_536):
    """Raw columns through a `FeatureEncoder`, some rows at a time.

    Args:
        encoder: an adapted `FeatureEncoder`.
        features: `dict` of arrays.
        rows: `int`, rows at a time.

    Returns:
        `dict` of arrays of numbers.
    """
    total = len(next(iter(features.values())))
    parts = [
        encoder({name: values[first : first + rows] for name, values in features.items()})
        for first in range(0, total, rows)
    ]
    return {name: _join([part[name].numpy() for part in parts]) for name in parts[0]}


def batches_of(arrays, batch_size, seed=None, epoch=0):
    """Batches of arrays that stay in memory.

    Args:
        arrays: nested `dict` and tuples of arrays with as many rows each.
        batch_size: `int`; the last batch of an epoch may be smaller.
        seed: `int`; epochs then follow each other without end, each in an order of its own.
            `None` is one epoch in the given order.
        epoch: `int`, the first one.

    Returns:
        `tf.data.Dataset`.

    Example:

    >>> [batch.tolist() for batch in batches_of(np.arange(5), 2).as_numpy_iterator()]
    [[0, 1], [2, 3], [4]]
    """
    total = len(keras.tree.flatten(arrays)[0])
    held = keras.tree.map_structure(tf.constant, arrays)

    def order(number):
        places = tf.range(total, dtype=tf.int64)
        if seed is not None:
            places = tf.random.experimental.stateless_shuffle(places, tf.stack([seed, number]))
        return tf.data.Dataset.from_tensor_slices(places).batch(batch_size)

    if seed is None:
        places = order(epoch)
    else:
        places = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(order)
        places = places.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def rows(taken):
        return keras.tree.map_structure(lambda values: tf.gather(values, taken), held)

    return places.map(rows, num_parallel_calls=2).prefetch(2)


def _join(parts):
    """Parts one after another, lists filled up with 0 to the longest."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    length = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(x, ((0, 0), (0, length - x.shape[1]))) for x in parts])
