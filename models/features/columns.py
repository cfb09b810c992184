"""Raw columns of a table: arrays, lists and tensors, as tensors of one type."""

import difflib
import itertools
import numbers
import re

import numpy as np
import tensorflow as tf

from moe_zoo.validation import shown

KINDS = {"float32": "numbers", "int64": "whole numbers", "string": "strings"}


def check_columns(columns, names, what="column"):
    """Refuse a table that is no dict or lacks a column, with the nearest name.

    Raises:
        ValueError: as said.
    """
    if not isinstance(columns, dict):
        raise ValueError(
            f"Expected a dict by {what}. Received: {type(columns).__name__}. Its keys are the "
            f"names: {_some(names)}."
        )
    for name in names:
        if name not in columns:
            nearest = difflib.get_close_matches(str(name), map(str, columns), 1, 0.5)
            advice = f"Is it {nearest[0]!r}?" if nearest else f"There are: {_some(columns)}."
            raise ValueError(
                f"Expected a {what} {shown(name)}. Received: {len(columns)} others. {advice}"
            )


def as_column(name, values):
    """A column as a tensor, dense or ragged, of the type that its values have.

    Args:
        name: `str`, for messages.
        values: array, list, pandas column or tensor; `None` and NaN among its values say that
            there is none, and an array of objects may hold lists.

    Raises:
        ValueError: values of several types.
    """
    if isinstance(values, tf.RaggedTensor) or tf.is_tensor(values):
        return values
    if isinstance(values, tf.Variable):
        return tf.convert_to_tensor(values)
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, list | tuple):
        values = _objects(values)
    values = np.asarray(values)
    if values.dtype.kind == "O":
        return _from_objects(name, values)
    if values.dtype.kind in "US":
        return tf.constant(values)
    if values.dtype.kind in "biuf":
        return tf.constant(values, "int64" if values.dtype.kind in "bu" else None)
    raise ValueError(
        f"Expected column {shown(name)} to hold strings or numbers. Received: "
        f"dtype={values.dtype}. Convert it first."
    )


def as_dtype(name, values, dtype, missing):
    """A column of any type as one of `dtype`.

    Args:
        name: `str`, for messages.
        values: tensor, dense or ragged.
        dtype: `"float32"`, `"int64"` or `"string"`.
        missing: value to which NaN becomes among whole numbers.

    Raises:
        ValueError: strings in place of numbers, or the other way round; outside of a graph also
            numbers with a fraction in place of whole ones.
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
    if dtype == "int64" and values.dtype.is_floating:
        known = tf.math.is_finite(values)
        _check_whole(name, tf.boolean_mask(values, known))
        whole = tf.cast(tf.where(known, values, tf.zeros_like(values)), dtype)
        return tf.where(known, whole, tf.constant(missing, dtype))
    return tf.cast(values, dtype)


def as_rows(name, values, is_list, separator=None):
    """A column with one value in each row `[B]`, or with a list in each `[B, L]`.

    Raises:
        ValueError: another rank.
    """
    if separator is not None and values.dtype == tf.string and values.shape.rank == 1:
        return tf.strings.strip(tf.strings.split(values, separator))
    if not is_list and values.shape.rank == 2 and not isinstance(values, tf.RaggedTensor):
        if values.shape[1] == 1:
            return tf.squeeze(values, 1)
    if values.shape.rank == 1 + is_list:
        return values
    if is_list:
        advice = "Give lists of any length, an array padded with the missing value, or separator=."
    else:
        advice = "For several values in a row use ListOf."
    raise ValueError(
        f"Expected {'a list' if is_list else 'one value'} in each row of column {shown(name)}. "
        f"Received: shape={tuple(values.shape)}. {advice}"
    )


def flat_values(values):
    """All values of a column as a flat NumPy array, strings as `str` objects."""
    values = values.flat_values if isinstance(values, tf.RaggedTensor) else values
    values = values.numpy().ravel()
    if values.dtype.kind == "O":
        return np.array([value.decode("utf-8") for value in values], dtype=object)
    return values


def plain_names(names):
    """Names of letters and digits for layers and arguments, all different: `dict` by name."""
    found: dict = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", str(name))
        base = base if base[:1].isalnum() else f"x{base}"
        chosen, i = base, 1
        while chosen in found.values():
            chosen, i = f"{base}_{i}", i + 1
        found[name] = chosen
    return found


def _from_objects(name, values):
    """A column from an array of Python objects."""
    if values.ndim > 1:
        return tf.reshape(_from_objects(name, values.ravel()), values.shape)
    given = [value for value in values if not _is_none(value)]
    if any(isinstance(value, list | tuple | np.ndarray) for value in given):
        rows = [[] if _is_none(value) else list(value) for value in values]
        flat = _from_objects(name, _objects(list(itertools.chain.from_iterable(rows))))
        return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])
    if given and all(isinstance(value, str | bytes) for value in given):
        return tf.constant(["" if _is_none(value) else value for value in values], tf.string)
    if all(isinstance(value, numbers.Real | np.bool_) for value in given):
        found = np.asarray([np.nan if _is_none(value) else value for value in values])
        if found.dtype.kind in "biuf":
            return as_column(name, found)
    types = sorted({type(value).__name__ for value in given})
    raise ValueError(
        f"Expected column {shown(name)} to hold strings or numbers. Received: values of the types "
        f"{', '.join(types)}. Convert them to one."
    )


def _holds_nothing(values):
    """Whether all values of a column are NaN, as when `None` stands for each."""
    known = values.dtype.is_floating and tf.executing_eagerly()
    return known and bool(tf.reduce_all(tf.math.is_nan(values)))


def _check_whole(name, values):
    """Refuse numbers with a fraction, which would quietly become others; in a graph nothing."""
    wrong = tf.boolean_mask(values, tf.floor(values) != values)
    if tf.executing_eagerly() and int(tf.size(wrong)):
        raise ValueError(
            f"Expected whole numbers in column {shown(name)}. Received: {float(wrong[0]):g}. Use "
            "Number or Buckets, or convert it to strings."
        )


def _objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _is_none(value):
    return value is None or (isinstance(value, float) and value != value)


def _some(names):
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
