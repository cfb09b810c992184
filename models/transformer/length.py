"""The check that rows are not longer than a model takes."""

from typing import Any

import tensorflow as tf


def check_length(length: Any, max_length: int | None) -> Any:
    """Return `length`, checked at once or, if it is not known yet, when the graph runs.

    Args:
        length: `int`, `<int32>[]` or `None`.
        max_length: `int`, or `None` for any length.

    Raises:
        ValueError: If `length > max_length`.
        tf.errors.InvalidArgumentError: If that is known only when the graph runs.
    """
    known = tf.get_static_value(length) if tf.is_tensor(length) else length
    advice = "Shorten the rows or give the model a larger max_length."
    if max_length is None or length is None:
        return length
    if known is not None:
        if known > max_length:
            raise ValueError(
                f"Expected rows of at most max_length={max_length} tokens. Received: rows of "
                f"{known}. {advice}"
            )
        return length
    message = f"Expected rows of at most max_length={max_length} tokens. Received: rows of"
    check = tf.Assert(length <= max_length, [message, length, advice])
    with tf.control_dependencies([check]):
        return tf.identity(length)
