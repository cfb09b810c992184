"""Keep the token ids of many short texts in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class RaggedRows:
    """Rows of different lengths in one array.

    Attributes:
        values: Values of all rows in turn, `<int32>[tokens]`.
        starts: Start of each row, and end of the last one, `<int64>[rows + 1]`.
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int] | np.ndarray]) -> "RaggedRows":
        """Make rows from lists of numbers."""
        arrays = [np.asarray(row, np.int32) for row in rows]
        starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *arrays]), starts)

    @property
    def lengths(self) -> np.ndarray:
        """Number of values in each row, `<int64>[rows]`."""
        return np.diff(self.starts)

    def take(self, places: Iterable[int]) -> "RaggedRows":
        """Return the rows with these indices."""
        return self.from_lists(self.values[self.starts[i] : self.starts[i + 1]] for i in places)

    def cut(self, length: int) -> "RaggedRows":
        """Return the rows, cut after `length` tokens."""
        ends = np.minimum(self.starts[1:], self.starts[:-1] + length)
        pieces = zip(self.starts[:-1], ends, strict=True)
        return self.from_lists(self.values[begin:end] for begin, end in pieces)

    def dense(
        self,
        places: Iterable[int],
        shape: Sequence[int],
        fill: int,
        before: int | None = None,
        after: int | None = None,
    ) -> np.ndarray:
        """Return some rows, padded to a shape.

        Args:
            places: Indices of the rows, in this order; the other rows of the shape are padding.
            shape: Rows and length of the result.
            fill: Number to pad with.
            before: Token to put before each row, or `None`.
            after: Token to put after each row, or `None`.

        Returns:
            `<int32>[rows, length]`.

        Example:

        >>> RaggedRows.from_lists([[5, 6], [7]]).dense([1, 0], (2, 3), fill=0, after=2)
        array([[7, 2, 0],
               [5, 6, 2]], dtype=int32)
        """
        result = np.full(shape, fill, np.int32)
        shift = int(before is not None)
        for row, place in zip(result, places, strict=False):
            begin, end = self.starts[place], self.starts[place + 1]
            row[shift : shift + end - begin] = self.values[begin:end]
            if before is not None:
                row[0] = before
            if after is not None:
                row[shift + end - begin] = after
        return result


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> RaggedRows:
    """Encode texts as token ids, without special tokens.

    Args:
        tokenizer: A `Tokenizer`, or an object with its `encode`.
        texts: Short texts.
    """
    values, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        ids = tokenizer.encode(tf.constant(texts[start : start + TEXTS_AT_ONCE], tf.string))
        values.append(ids.flat_values.numpy())
        lengths.append(ids.row_lengths().numpy())
    return RaggedRows(np.concatenate(values), np.cumsum(np.concatenate(lengths)))
