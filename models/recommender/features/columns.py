"""Raw columns of a table: arrays, lists and tensors, as tensors of one type."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.validation import did_you_mean, shorten, shown

from .python_values import objects, tensor_of_objects


def as_table(table: Any) -> Any:
    """Return a table as a `dict` by column, also a frame with named columns such as pandas'."""
    if isinstance(table, dict):
        return table
    if isinstance(table, Mapping):
        return dict(table)
    if hasattr(table, "columns") and hasattr(table, "__getitem__"):
        return {name: table[name] for name in table.columns}
    return table


def check_columns(columns: Any, names: Iterable[str], what: str = "column") -> None:
    """Refuse a table that is no `dict` or lacks a column, with the nearest name.

    Raises:
        ValueError: If it is not a `dict`, or a column is missing.
    """
    if not isinstance(columns, dict):
        raise ValueError(
            f"Expected a dict by {what}. Received: {type(columns).__name__}. Its keys are the "
            f"names: {shorten(names, most=8)}."
        )
    for name in names:
        if name not in columns:
            advice = did_you_mean(str(name), map(str, columns)) or " Check its name."
            raise ValueError(
                f"Expected a {what} {shown(name)}. Received: {shorten(columns, most=8)}.{advice}"
            )


def as_column(name: str, values: Any, missing: int | None = None) -> tf.Tensor:
    """Return a column as a tensor, dense or ragged, of the type of its values.

    Args:
        name: `str`, for messages.
        values: array, list, pandas column or tensor; `None`, NaN and `pandas.NA` among its values
            are missing ones, and an array of objects may hold lists.
        missing: `int` for missing values among whole numbers that floats cannot tell apart.

    Raises:
        ValueError: If values have several types, or one that is neither strings nor numbers, or if
            text is not valid Unicode.
    """
    if isinstance(values, tf.RaggedTensor) or tf.is_tensor(values):
        return values
    if isinstance(values, tf.Variable):
        return tf.convert_to_tensor(values)
    if hasattr(values, "to_numpy"):
        # Types of pandas' own, such as Int64, would lose digits as floats with NaN.
        own = not isinstance(getattr(values, "dtype", np.dtype(object)), np.dtype)
        values = np.asarray(values, dtype=object) if own else values.to_numpy()
    if isinstance(values, list | tuple):
        values = objects(values)
    values = np.asarray(values)
    if values.dtype.kind == "O":
        if values.ndim == 0:
            raise ValueError(
                f"Expected a value in each row of column {shown(name)}. Received: "
                f"{shown(values.item())}. Give a list, an array or a tensor."
            )
        return tensor_of_objects(name, values, missing)
    if values.dtype.kind in "US":
        return tf.constant(values)
    if values.dtype.kind == "b" or (values.dtype.kind == "u" and values.dtype != np.uint64):
        return tf.constant(values, tf.int64)
    if values.dtype == np.uint64:
        return tf.constant(values, tf.uint64 if (values >= 2**63).any() else tf.int64)
    if values.dtype.kind in "if":
        return tf.constant(values)
    dates = " Give times as numbers of seconds, or their parts, such as the weekday."
    raise ValueError(
        f"Expected column {shown(name)} to hold strings or numbers. Received: dtype={values.dtype}."
        f"{dates if values.dtype.kind in 'mM' else ' Convert it first.'}"
    )


def as_rows(name: str, values: tf.Tensor, is_list: bool, separator: str | None = None) -> tf.Tensor:
    """Return a column with one value in each row `[B]`, or a list in each `[B, L]`.

    Raises:
        ValueError: If the column has another rank.
    """
    if values.shape.rank is None and not is_list:  # Keras generalizes over [B] and [B, 1]
        values = tf.reshape(values, [tf.shape(values)[0]])
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


def flat_values(name: str, values: tf.Tensor) -> np.ndarray:
    """Return all values of a column as a flat NumPy array, strings as `str` objects.

    Raises:
        ValueError: If bytes are not text in UTF-8.
    """
    values = values.flat_values if isinstance(values, tf.RaggedTensor) else values
    values = values.numpy().ravel()
    if values.dtype.kind != "O":
        return values
    try:
        return np.array([value.decode("utf-8") for value in values], dtype=object)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8 in column {shown(name)}. Received: "
            f"{shown(error.object, 60)}. Decode it first."
        ) from error


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return unique names of letters and digits for layers and arguments: `dict` by name.

    They differ as arguments of a SavedModel too: in their names TensorFlow takes capitals for small
    letters and `.` and `-` for `_`, and puts `arg_` before a digit. `self` is an argument it has.
    """
    found: dict = {}
    taken = {"self"}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", str(name))
        base = base if base[:1].isalnum() else f"x{base}"
        chosen, i = base, 1
        while (argument := _as_argument(chosen)) in taken:
            chosen, i = f"{base}_{i}", i + 1
        taken.add(argument)
        found[name] = chosen
    return found


def _as_argument(name: str) -> str:
    name = re.sub(r"[.-]", "_", name).lower()
    return f"arg_{name}" if name[0].isdigit() else name
