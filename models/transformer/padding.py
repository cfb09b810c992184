"""Rows with padding anywhere: what a token sees, where it stands, what padding says."""

import tensorflow as tf


def positions_of(real: tf.Tensor) -> tf.Tensor:
    """The position of each token: the number of real tokens before it.

    Args:
        real: `<bool>[B, T]`.

    Returns:
        `<int32>[B, T]`.

    Example:

    >>> positions_of(tf.constant([[False, True, False, True]])).numpy()
    array([[0, 0, 1, 1]], dtype=int32)
    """
    return tf.cumsum(tf.cast(real, tf.int32), axis=1, exclusive=True)


def hidden_keys(places: tf.Tensor, real: tf.Tensor | None = None) -> tf.Tensor:
    """Whom a token does not see: the later ones, and padding.

    Args:
        places: `<int32>[T]`.
        real: `<bool>[B, T]`, or `None` for rows without padding.

    Returns:
        `<bool>[B or 1, T queries, T keys]`.
    """
    later = tf.expand_dims(tf.expand_dims(places, 0) > tf.expand_dims(places, 1), 0)
    return later if real is None else later | ~tf.expand_dims(real, 1)


def repeat_last(x: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Each token's own values; for padding those of the last real token before it, or zeros.

    Args:
        x: `<dtype>[B, T, D]`.
        hidden: `<bool>[B, T, T]`, what `hidden_keys` gave.

    Returns:
        `<dtype>[B, T, D]`.

    Example:

    >>> real = tf.constant([[False, True, False]])
    >>> x = tf.constant([[[7.0], [8.0], [9.0]]])
    >>> repeat_last(x, hidden_keys(tf.range(3), real)).numpy().ravel()
    array([0., 8., 8.], dtype=float32)
    """
    last = tf.reduce_max(tf.where(hidden, -1, tf.range(tf.shape(x)[1])), axis=2)  # [B, T]
    found = tf.gather(x, tf.maximum(last, 0), batch_dims=1)
    return tf.where(tf.expand_dims(last, -1) < 0, tf.zeros([], x.dtype), found)
