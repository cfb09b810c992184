"""Cells of a text file without spaces and marks of missing values."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from .columns import BadValue

REMEMBERED = 50_000  # cells of a column, so that a column of distinct values stays small in memory


class CleanText(dict):
    """The cleaned text of each cell of a column, cached by the cell.

    Equal values share one string, so a column of few distinct values takes little memory.

    Args:
        strip: Whether to remove spaces around a value.
        missing: Cells that mark a missing value.

    Example:

    >>> clean = CleanText(strip=True, missing=("?",))
    >>> clean[" Private"], clean[" ?"]
    ('Private', '')
    """

    def __init__(self, strip: bool = False, missing: Sequence[str] = ()):
        super().__init__()
        self.strip, self.missing = strip, frozenset(missing)

    def __missing__(self, cell: str) -> str:
        text = self._clean(cell)
        if len(self) < REMEMBERED:
            self[cell] = text
        return text

    def all(self, cells: Sequence[str]) -> list[str]:
        """Return the cleaned text of each cell."""
        if len(self) < REMEMBERED:
            return list(map(self.__getitem__, cells))
        if self.strip or self.missing:
            cells = [self._clean(cell) for cell in cells]
        return list(map(self.get, cells, cells))

    def numbers(self, cells: Sequence[str]) -> np.ndarray:
        """Return the numbers of some cells; see `parse_numbers`."""
        # A mark such as -999 reads as a number: without it a cell is only cleaned if it has to be.
        marked = any(math.isfinite(_number(mark)) for mark in self.missing)
        return parse_numbers(self.all(cells) if marked else cells, self.__getitem__)

    def _clean(self, cell: str) -> str:
        text = cell.strip() if self.strip else cell
        return "" if text in self.missing else text


def parse_numbers(cells: Sequence[str], clean: Callable[[str], str]) -> np.ndarray:
    """Parse the numbers of some cells.

    Args:
        cells: Strings as in the file.
        clean: Function that returns the text of a cell, `""` where its value is missing.

    Returns:
        `<float64>[rows]`, NaN where a value is missing.

    Raises:
        BadValue: If a cell is not a finite number.

    Example:

    >>> parse_numbers(["1", " 2.5", ""], str.strip)
    array([1. , 2.5, nan])
    """
    try:
        numbers = np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        numbers = np.array([_number(clean(cell)) for cell in cells], dtype=np.float64)
    bad = np.isinf(numbers)
    if "_" in "".join(cells):  # Python reads 1_000 as 1000
        bad |= ["_" in clean(cell) for cell in cells]
    if bad.any():
        raise BadValue(
            int(np.argmax(bad)),
            "a number",
            "Name the marks of missing values with `missing`, take a feature as text, or say with "
            "`positive` which label is a 1.",
        )
    return numbers


def _number(text: str) -> float:
    """Return the number of a text, NaN for an empty one, infinity for what is not a number."""
    try:
        return float(text) if text.strip() else math.nan
    except ValueError:
        return math.inf
