"""Columns of Python objects as tensors."""

import itertools
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.validation import shown

EXACT = 2**53  # up to here a float64 tells all whole numbers apart
NOTHING = ("NAType", "NaTType")  # of pandas, which need not be installed


def tensor_of_objects(name: str, values: np.ndarray, missing: int | None = None) -> tf.Tensor:
    """Convert an array of Python objects to a column, dense or ragged.

    Args:
        name: `str`, for messages.
        values: `<object>` array of strings, numbers or lists of them, with `None`, NaN or
            `pandas.NA` for missing ones.
        missing: `int` for missing values among whole numbers that floats cannot tell apart.

    Raises:
        ValueError: If values have several types, or one that is neither strings nor numbers.
    """
    if values.ndim > 1:
        return tf.reshape(tensor_of_objects(name, values.ravel(), missing), values.shape)
    known = [not is_nothing(value) for value in values]
    given = list(itertools.compress(values, known))
    if any(isinstance(value, list | tuple | np.ndarray) for value in given):
        return _lists(name, values, known, missing)
    if given and all(isinstance(value, str | bytes) for value in given):
        texts = [value if real else "" for value, real in zip(values, known, strict=True)]
        return tf.constant([_encoded(name, text) for text in texts], tf.string)
    if all(isinstance(value, numbers.Real | np.bool_) for value in given):
        return _numbers(values, known, given, missing)
    types = sorted({type(value).__name__ for value in given})
    raise ValueError(
        f"Expected column {shown(name)} to hold strings or numbers. Received: values of the types "
        f"{', '.join(types)}. Convert them to one."
    )


def objects(values: Sequence) -> np.ndarray:
    """Return a list as an array of its objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def is_nothing(value: object) -> bool:
    """Return whether a value stands for a missing one."""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return value is None or type(value).__name__ in NOTHING


def _lists(
    name: str, values: np.ndarray, known: list[bool], missing: int | None
) -> tf.RaggedTensor:
    pairs = list(zip(values, known, strict=True))
    for value, real in pairs:
        if real and (not isinstance(value, list | tuple | np.ndarray) or np.ndim(value) == 0):
            raise ValueError(
                f"Expected a list in each row of column {shown(name)}. Received: "
                f"{shown(value, 60)} among lists. Put it into a list."
            )
    rows = [list(value) if real else [] for value, real in pairs]
    flat = objects(list(itertools.chain.from_iterable(rows)))
    flat = tensor_of_objects(name, flat, missing)
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])


def _numbers(values: np.ndarray, known: list[bool], given: list, missing: int | None) -> tf.Tensor:
    """Convert numbers to floats with NaN for missing ones, or to whole numbers if exact."""
    whole = all(isinstance(value, numbers.Integral | np.bool_) for value in given)
    large = whole and any(not -EXACT <= int(value) <= EXACT for value in given)
    if whole and (all(known) or (large and missing is not None)) and given:
        pairs = zip(values, known, strict=True)
        found: list[Any] = [int(value) if real else missing for value, real in pairs]
        if all(-(2**63) <= value < 2**63 for value in found):
            return tf.constant(found, tf.int64)
        if all(0 <= value < 2**64 for value in found):
            return tf.constant(np.array(found, np.uint64))
    floats = [float(x) if real else np.nan for x, real in zip(values, known, strict=True)]
    return tf.constant(floats, tf.float64)


def _encoded(name: str, text: str | bytes) -> bytes:
    try:
        return text if isinstance(text, bytes) else text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Expected text in column {shown(name)} that UTF-8 can hold. Received: "
            f"{shown(text, 60)}, with half a character. Remove it first."
        ) from error
