"""Raw columns of any type as the type that a feature reads."""

import tensorflow as tf

from moe_zoo.validation import shown

KINDS = {"float32": "numbers", "int64": "whole numbers", "string": "strings"}
# Where the floats of a type begin to leave out whole numbers.
EXACT = {tf.bfloat16: 2.0**8, tf.float16: 2.0**11, tf.float32: 2.0**24, tf.float64: 2.0**53}


def as_dtype(name: str, values: tf.Tensor, dtype: str, missing: str | int | None) -> tf.Tensor:
    """Convert a column of any type to `dtype`.

    Args:
        name: `str`, for messages.
        values: tensor, dense or ragged.
        dtype: `"float32"`, `"int64"` or `"string"`.
        missing: value to which NaN becomes among whole numbers.

    Raises:
        ValueError: If strings stand in place of numbers or the reverse, or if numbers in place of
            whole ones have a fraction or are too large for their type to be exact.
    """
    if isinstance(values, tf.RaggedTensor):
        return values.with_flat_values(as_dtype(name, values.flat_values, dtype, missing))
    if values.dtype == dtype:
        return values
    if values.shape.num_elements() == 0:  # a column of empty lists says nothing about its type
        return tf.zeros(values.shape, dtype)
    if dtype == "string" and _holds_nothing(values):
        return tf.fill(tf.shape(values), missing)
    if "string" in (dtype, values.dtype.name):
        advice = "Convert it, or use Category for strings." if dtype != "string" else "Convert it."
        raise ValueError(
            f"Expected {KINDS[dtype]} in column {shown(name)}, as in training. Received: "
            f"dtype={values.dtype.name}. {advice}"
        )
    if dtype == "int64":
        return _as_whole(name, values, missing)
    return tf.cast(values, dtype)


def _as_whole(name: str, values: tf.Tensor, missing: str | int | None) -> tf.Tensor:
    """Convert numbers to `<int64>`, NaN to the value that stands for a missing one."""
    strings = "Give such ids as strings."
    if values.dtype == tf.uint64:
        _refuse(name, values, values >= 2**63, "whole numbers below 2^63", strings)
    if not values.dtype.is_floating:
        return tf.cast(values, tf.int64)
    known = ~tf.math.is_nan(values)
    values = tf.where(known, values, tf.zeros_like(values))
    wrong = tf.floor(values) != values
    advice = "Use Number or Buckets, or convert it to strings."
    _refuse(name, values, wrong, "whole numbers", advice)
    limit = EXACT[values.dtype]
    expected = f"whole numbers below {limit:.0f}, above which {values.dtype.name} leaves some out,"
    advice = "Read the column as whole numbers (int64, in pandas Int64), or as strings."
    _refuse(name, values, tf.abs(values) >= tf.cast(limit, values.dtype), expected, advice)
    return tf.where(known, tf.cast(values, tf.int64), tf.constant(missing, tf.int64))


def _holds_nothing(values: tf.Tensor) -> bool:
    """Return whether all values of a column are NaN, as if each was `None`."""
    known = values.dtype.is_floating and tf.executing_eagerly()
    return known and bool(tf.reduce_all(tf.math.is_nan(values)))


def _refuse(name: str, values: tf.Tensor, wrong: tf.Tensor, expected: str, advice: str) -> None:
    """Raise `ValueError` if any of the values is wrong; within a graph when it runs."""
    said = f"Expected {expected} in column {shown(name)}. Received: "
    if not tf.executing_eagerly():
        first = tf.boolean_mask(values, wrong)[:1]
        tf.debugging.Assert(~tf.reduce_any(wrong), [said, first, f". {advice}"])
    elif bool(tf.reduce_any(wrong)):
        raise ValueError(f"{said}{tf.boolean_mask(values, wrong)[0].numpy()}. {advice}")
