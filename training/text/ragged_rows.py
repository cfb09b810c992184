"""Token ids of many short texts in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class RaggedRows:
    """Rows of different lengths in one array.

    Attributes:
        values: `<int32>[tokens]`, all rows one after the other.
        starts: `<int64>[rows + 1]`, where each row starts, and the end of the last one.
    """

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def from_lists(cls, rows: Iterable) -> "RaggedRows":
        """Rows of lists of numbers."""
        arrays = [np.asarray(row, np.int32) for row in rows]
        starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *arrays]), starts)

    @property
    def lengths(self) -> np.ndarray:
        """`<int64>[rows]`."""
        return np.diff(self.starts)

    def take(self, places) -> "RaggedRows":
        """The rows at these places."""
        return self.from_lists(self.values[self.starts[i] : self.starts[i + 1]] for i in places)

    def cut(self, length: int) -> "RaggedRows":
        """Rows of which only the first `length` tokens are left."""
        ends = np.minimum(self.starts[1:], self.starts[:-1] + length)
        pieces = zip(self.starts[:-1], ends, strict=True)
        return self.from_lists(self.values[begin:end] for begin, end in pieces)

    def dense(self, places, shape, fill, before=None, after=None) -> np.ndarray:
        """Some rows, filled up to a shape.

        Args:
            places: Which rows, in this order; the rest of the shape's rows is filling.
            shape: `(rows, length)` of the result.
            fill: Number to fill up with.
            before: Token to put before each row, or `None`.
            after: Token to put after each row, or `None`.

        Returns:
            `<int32>` of that shape.

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


def encode_texts(tokenizer, texts: Sequence[str]) -> RaggedRows:
    """Token ids of texts, without special tokens, by the tokenizer's graph.

    Args:
        tokenizer: Has `encode`, as `Tokenizer`.
        texts: Short texts.
    """
    values, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        ids = tokenizer.encode(tf.constant(texts[start : start + TEXTS_AT_ONCE], tf.string))
        values.append(ids.flat_values.numpy())
        lengths.append(ids.row_lengths().numpy())
    return RaggedRows(np.concatenate(values), np.cumsum(np.concatenate(lengths)))
