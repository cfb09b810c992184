"""Short texts of the rows of a table."""

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

PADDING = (b"", -1)


def row_texts(features: Mapping[str, Any], columns: int = 6) -> list[str]:
    """Return the first columns of each row, as `age 39, education Bachelors`.

    Args:
        features: `dict` of tensors with the same number of rows, ragged or padded for lists.
        columns: Largest number of columns to name.

    Returns:
        A text for each row.

    Example:

    >>> row_texts({"age": tf.constant([39.0, 50.5]), "job": tf.constant(["cook", "clerk"])})
    ['age 39, job cook', 'age 50.5, job clerk']
    """
    named = {name: _cells(values) for name, values in list(features.items())[:columns]}
    cells = zip(*named.values(), strict=True)
    return [
        ", ".join(f"{name} {cell}" for name, cell in zip(named, row, strict=True)) for row in cells
    ]


def _cells(values: Any) -> list[str]:
    if values.shape.rank == 1:
        return [_cell(value) for value in values.numpy().tolist()]
    rows = values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy().tolist()
    return ["|".join(_cell(value) for value in row if value not in PADDING) for row in rows]


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return "unknown" if math.isnan(value) else f"{value:g}"
    return str(value)
