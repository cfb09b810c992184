"""Columns of labels: from the values in a table to the numbers that a task learns."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moe_zoo.validation import shorten

from .columns import BadValue, Column


@dataclass(frozen=True)
class MissingLabel(Column):
    """The labels of another column, one value of which marks a missing label.

    Args:
        column: Column of the labels.
        missing: That value, as the file has it.

    Example:

    >>> MissingLabel("click", BinaryLabel("click"), -1).parse(np.array([0.0, -1.0, 1.0]))
    array([ 0., nan,  1.])
    >>> MissingLabel("mood", ClassLabel("mood", ("sad", "glad")), "?").parse(["glad", "?"])
    array([ 1., nan])
    """

    column: Column
    missing: str | float

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", self.column.dtype)

    def parse(self, values: Any) -> np.ndarray:
        if self.dtype == "string":
            missing = str(self.missing)
            return self.column.parse(["" if value == missing else value for value in values])
        return self.column.parse(np.where(values == self.missing, np.nan, values))


@dataclass(frozen=True)
class ThresholdLabel(Column):
    """1 where a number is at least `at_least`, else 0: `<float64>[rows]`, NaN where it is missing.

    Args:
        at_least: Smallest number whose label is 1.

    Example:

    >>> ThresholdLabel("rating", at_least=4).parse(np.array([3.0, 4.0, np.nan]))
    array([ 0.,  1., nan])
    """

    at_least: float = 1.0

    dtype = "float64"

    def parse(self, values: Any) -> np.ndarray:
        return np.where(np.isnan(values), np.nan, values >= self.at_least)


@dataclass(frozen=True)
class BinaryLabel(Column):
    """Labels that are 0 and 1 in the file: `<float64>[rows]`, NaN where missing.

    Example:

    >>> BinaryLabel("click").parse(np.array([0.0, 1.0, np.nan]))
    array([ 0.,  1., nan])
    """

    dtype = "float64"

    def parse(self, values: Any) -> np.ndarray:
        outside = ~((values == 0) | (values == 1) | np.isnan(values))
        if outside.any():
            raise BadValue(
                int(np.argmax(outside)),
                "labels 0 and 1",
                "Name the values of a 1, as positive=yes, or the least one, as at_least=4.",
            )
        return values


@dataclass(frozen=True)
class PositiveLabel(Column):
    """1 for some of the strings, 0 for all others: `<float64>[rows]`, NaN where missing.

    Args:
        positive: Strings whose label is 1.

    Example:

    >>> PositiveLabel("income", positive=(">50K", ">50K.")).parse(["<=50K", ">50K", ""])
    array([ 0.,  1., nan])
    """

    positive: tuple[str, ...] = ()

    def parse(self, values: Any) -> np.ndarray:
        codes = dict.fromkeys(self.positive, 1.0) | {"": np.nan}
        return np.array([codes.get(value, 0.0) for value in values], dtype=np.float64)


@dataclass(frozen=True)
class ClassLabel(Column):
    """The number of a class: `<float64>[rows]`, NaN where it is missing.

    Args:
        classes: Strings of the classes, in the order of their numbers.

    Example:

    >>> ClassLabel("mood", classes=("sad", "glad")).parse(["glad", "sad", ""])
    array([ 1.,  0., nan])
    """

    classes: tuple[str, ...] = ()

    def parse(self, values: Any) -> np.ndarray:
        codes: dict[str, float] = {"": np.nan}
        codes |= {name: float(number) for number, name in enumerate(self.classes)}
        try:
            return np.array([codes[value] for value in values], dtype=np.float64)
        except KeyError:
            position = next(i for i, value in enumerate(values) if value not in codes)
        raise BadValue(
            position,
            f"labels out of {shorten(self.classes)}",
            "Add it to the classes, or correct the value.",
        )
