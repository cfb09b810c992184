"""Tokens in groups: the shape that routers and plans work on."""

import tensorflow as tf


def to_groups(inputs, mask=None, group_size=None):
    """Flatten all axes but the last into tokens, in groups of `group_size`.

    Args:
        inputs: `<dtype>[..., D]`.
        mask: `<bool>[...]` or `None`.
        group_size: `int` or `None` for one group of all tokens. Where it does not divide the number
            of tokens the last group is filled up with masked tokens.

    Returns:
        `(<dtype>[G, S, D], <bool>[G, S] or None)`.
    """
    tokens = tf.reshape(inputs, [-1, inputs.shape[-1]])
    if mask is not None:
        mask = tf.reshape(tf.cast(mask, tf.bool), [-1])
    if group_size is None:
        return tf.expand_dims(tokens, 0), None if mask is None else tf.expand_dims(mask, 0)
    total = tokens.shape[0]
    if total is None:
        total = tf.shape(tokens)[0]
        size = tf.maximum(tf.minimum(group_size, total), 1)
    else:
        size = max(min(group_size, total), 1)
    missing = -total % size
    if not (isinstance(missing, int) and missing == 0):
        real = tf.ones([total], tf.bool) if mask is None else mask
        tokens, mask = tf.pad(tokens, [[0, missing], [0, 0]]), tf.pad(real, [[0, missing]])
    tokens = tf.reshape(tokens, [-1, size, inputs.shape[-1]])
    return tokens, None if mask is None else tf.reshape(mask, [-1, size])


def from_groups(tokens, inputs):
    """Undo `to_groups`: `<dtype>[G, S, F]` -> `<dtype>[..., F]`, with the axes of `inputs`."""
    shape = tf.concat([tf.shape(inputs)[:-1], [tokens.shape[-1]]], 0)
    tokens = tf.reshape(tokens, [-1, tokens.shape[-1]])[: tf.reduce_prod(shape[:-1])]
    outputs = tf.reshape(tokens, shape)
    outputs.set_shape([*inputs.shape[:-1], tokens.shape[-1]])
    return outputs
