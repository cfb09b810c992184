"""Rows with padding anywhere: what a token sees, where it stands, what padding says."""

import tensorflow as tf


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
