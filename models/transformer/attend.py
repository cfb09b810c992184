"""Attention of queries to keys: the pure function."""

from collections.abc import Callable

import tensorflow as tf

from moe_zoo.plans.gathers import shape_of
from moe_zoo.scopes import GROUP, constrain

NEVER = -1e9  # added to a score: its weight becomes 0 in float32


def attend(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    bias: tf.Tensor | None = None,
    mask: tf.Tensor | None = None,
    scale: float = 1.0,
    dropout: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """Return `softmax(scale Q K^T + bias) V` for each head (Vaswani et al. 2017, section 3.2).

    With fewer heads of keys, each serves several neighboring heads of queries.

    Args:
        queries: `<dtype>[B, H, Q, d]`.
        keys: `<dtype>[B, H_kv, L, d]`; H_kv divides H.
        values: `<dtype>[B, H_kv, L, d]`.
        bias: `<float32>[B or 1, H or 1, Q, L]` or `None`.
        mask: `<bool>[B, L]` or `None`, keys to attend to. A row without any attends to all.
        scale: `float`.
        dropout: function of the weights `<dtype>[B, H_kv, H / H_kv, Q, L]`, or `None`.

    Returns:
        `<dtype>[B, H, Q, d]`. The softmax is computed in float32.

    Example:

    >>> x = tf.ones([2, 4, 5, 8])
    >>> tuple(attend(x, x[:, :2], x[:, :2], scale=8**-0.5).shape)
    (2, 4, 5, 8)
    """
    batch, heads, length, size = shape_of(queries)
    shared, count = shape_of(keys)[1:3]
    # Five axes: with four, TensorFlow on a CPU takes up to 100 times as long for product and bias.
    apart = [batch, shared, heads // shared, length, count]
    merged = [batch, shared, heads // shared * length, count]
    queries = queries if scale == 1.0 else queries * tf.cast(scale, queries.dtype)
    # A step of generation, whose time is its number of operations.
    single_token = queries.shape[2] == 1
    queries = tf.reshape(queries, [-1 if single_token else batch, *merged[1:3], size])
    scores = tf.matmul(queries, keys, transpose_b=True)
    scores = tf.cast(
        tf.expand_dims(scores, 3) if single_token else tf.reshape(scores, apart), tf.float32
    )
    if bias is not None:
        rows, each = shape_of(bias)[:2]
        if each == 1:
            scores += tf.expand_dims(bias, 2)
        else:
            scores += tf.reshape(bias, [rows, *apart[1:3], *shape_of(bias)[2:]])
    if mask is not None:
        hidden = tf.where(mask, 0.0, NEVER)
        scores += tf.reshape(hidden, [batch, 1, 1, 1, count])
    weights = tf.cast(tf.nn.softmax(constrain(scores, GROUP)), values.dtype)
    if dropout is not None:
        weights = dropout(weights)
    weights = tf.squeeze(weights, 3) if single_token else tf.reshape(weights, merged)
    return tf.reshape(
        tf.matmul(weights, values), [-1 if single_token else batch, heads, length, size]
    )
