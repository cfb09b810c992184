"""Columns of a table: where their values are and what arrays they become."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class BadValue(ValueError):
    """A value that its column does not accept; the table adds the file and line.

    Attributes:
        position: Index of the value.
        expected: What was expected, as after "Expected".
        advice: One sentence of advice.
    """

    def __init__(self, position: int, expected: str, advice: str):
        super().__init__(expected)
        self.position, self.expected, self.advice = position, expected, advice


@dataclass(frozen=True)
class Column(abc.ABC):
    """A column of a file, `source`, and how its values become an array.

    Args:
        source: Name of the column in the file.
    """

    source: str

    dtype = "string"  # of the values that `parse` takes

    @abc.abstractmethod
    def parse(self, values: Sequence | np.ndarray) -> np.ndarray:
        """Return an array with one entry, or one row, for each value.

        Args:
            values: Strings, `""` where a value is missing; `<float64>[rows]` with NaN, or
                `<int64>[rows]` with -1, if that is its `dtype`. A `ListColumn` takes lists too.

        Raises:
            BadValue: If the column does not accept a value.
        """


@dataclass(frozen=True)
class NumberColumn(Column):
    """Numbers, `<float64>[rows]`, NaN where they are missing.

    Args:
        minimum: Smallest number that is allowed; `None` for any.
        maximum: Largest number that is allowed; `None` for any.

    Example:

    >>> NumberColumn("age", minimum=0).parse(np.array([3.5, np.nan]))
    array([3.5, nan])
    """

    minimum: float | None = None
    maximum: float | None = None

    dtype = "float64"

    def parse(self, values: Any) -> np.ndarray:
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        outside = (values < low) | (values > high)
        if outside.any():
            raise BadValue(
                int(np.argmax(outside)),
                f"numbers from {low:g} to {high:g}",
                "Correct the value, or set another minimum and maximum.",
            )
        return values


@dataclass(frozen=True)
class TextColumn(Column):
    """Strings, `<object>[rows]`, `""` where they are missing.

    Example:

    >>> TextColumn("city").parse(["Rome", ""])
    array(['Rome', ''], dtype=object)
    """

    def parse(self, values: Any) -> np.ndarray:
        return np.array(values, dtype=object)


@dataclass(frozen=True)
class WholeColumn(Column):
    """Whole numbers, `<int64>[rows]`, -1 where they are missing.

    Example:

    >>> WholeColumn("user").parse(np.array([2**60, -1]))
    array([1152921504606846976,                  -1])
    """

    dtype = "int64"

    def parse(self, values: Any) -> np.ndarray:
        return values


SPACES = " \t\n\v\f\r"  # what `tf.strings.strip` removes, so that a served string reads the same


@dataclass(frozen=True)
class ListColumn(Column):
    """Lists of strings or whole numbers, `[rows, longest list]`, padded with `""` or -1.

    Args:
        separator: Text between the values of a list that is a string.
        dtype: `"string"` or `"int64"`.

    Example:

    >>> ListColumn("genres").parse(["Action|Comedy", "", "Drama"])
    array([['Action', 'Comedy'],
           ['', ''],
           ['Drama', '']], dtype=object)
    """

    separator: str = "|"
    dtype: str = "string"

    def parse(self, values: Any) -> np.ndarray:
        lists = [self._split(value) if isinstance(value, str) else value for value in values]
        width = max((len(entries) for entries in lists), default=1) or 1
        fill, dtype = (-1, np.int64) if self.dtype == "int64" else ("", object)
        padded = np.full((len(lists), width), fill, dtype=dtype)
        for row, entries in enumerate(lists):
            padded[row, : len(entries)] = entries
        return padded

    def _split(self, value: str) -> list[str]:
        entries = (entry.strip(SPACES) for entry in value.split(self.separator))
        return [entry for entry in entries if entry]
