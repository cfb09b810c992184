"""Rows of features and labels in arrays, and streams of them."""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

Columns = dict[str, np.ndarray]
_PLACES = np.uint64(2**53)


class Rows(NamedTuple):
    """Some rows of a table: `features` and `labels` are arrays by name, of as many rows each."""

    features: Columns
    labels: Columns

    @property
    def length(self) -> int:
        """The number of rows."""
        return next((len(array) for part in self for array in part.values()), 0)

    def take(self, which: slice | np.ndarray) -> "Rows":
        """Return the rows of a slice, a mask or an array of positions."""
        return Rows(*({name: array[which] for name, array in part.items()} for part in self))


def join_rows(stream: Iterable[Rows]) -> Rows:
    """Join rows into one `Rows`; lists are padded to the longest with `""` or -1.

    Example:

    >>> first, second = (Rows({"x": np.full(n, float(n))}, {}) for n in (1, 2))
    >>> join_rows([first, second]).features["x"]
    array([1., 2., 2.])
    """
    chunks = list(stream)
    if len(chunks) == 1:
        return chunks[0]
    return Rows(
        *(
            {name: _join([chunk[part][name] for chunk in chunks]) for name in chunks[0][part]}
            for part in range(2)
        )
    )


def checksum(stream: Iterable[Rows]) -> str:
    """Compute a fingerprint of rows, which depends on values, names and order.

    Example:

    >>> checksum([Rows({"x": np.zeros(2)}, {})]) == checksum([Rows({"x": np.ones(2)}, {})])
    False
    """
    found = 0
    for rows in stream:
        for columns in rows:
            for name, array in columns.items():
                if array.dtype == object:
                    content = "\x1f".join(map(str, array.ravel())).encode()
                else:
                    content = np.ascontiguousarray(array).tobytes()
                found = zlib.crc32(content, zlib.crc32(name.encode(), found))
    return f"{found:08x}"


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    if arrays[0].ndim > 1:
        width = max(array.shape[1] for array in arrays)
        arrays = [_widen(array, width) for array in arrays]
    return np.concatenate(arrays)


def _widen(array: np.ndarray, width: int) -> np.ndarray:
    if array.shape[1] == width:
        return array
    wide = np.full((len(array), width), "" if array.dtype == object else -1, dtype=array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def draw_parts(first: int, count: int, shares: Iterable[float], seed: int) -> np.ndarray:
    """Draw the part of each row, by the row's number alone.

    The part of a row does not depend on the pieces in which rows are read. The draw of row i is the
    number `i + 1` of the SplitMix64 generator that starts at a hash of the seed.

    Args:
        first: Number of the first row.
        count: Number of rows.
        shares: Share of each part, which add up to 1.
        seed: Seed of the draws, an integer of at least 0.

    Returns:
        `<int64>[count]`, the number of the part of each row.

    Example:

    >>> draw_parts(0, 8, (0.5, 0.5), seed=1)[3:].tolist() == draw_parts(
    ...     3, 5, (0.5, 0.5), seed=1).tolist()
    True

    Reference: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    steps = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):  # it counts modulo 2^64
        z = start + steps * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    draws = (z >> np.uint64(11)).astype(np.float64) / float(_PLACES)
    edges = np.cumsum(list(shares))[:-1]
    return np.searchsorted(edges, draws, side="right")


def shuffle_rows(
    stream: Iterable[Rows], buffer_rows: int, generator: np.random.Generator
) -> Iterator[Rows]:
    """Shuffle the rows of a stream, as far as a buffer allows.

    When the buffer is full, half of its rows leave it, drawn at random. A stream that fits in the
    buffer comes out in any order with the same probability; in a longer one a row may come out
    much later, but not much earlier than it came in.

    Args:
        stream: Rows in pieces.
        buffer_rows: Rows in the buffer; a longer piece enlarges it.
        generator: Random number generator of the order.

    Yields:
        Pieces of random order.
    """
    held: list[Rows] = []
    count = 0
    for chunk in stream:
        held.append(chunk)
        count += chunk.length
        if count >= buffer_rows:
            keep = buffer_rows // 2
            mixed = join_rows(held)
            mixed = mixed.take(generator.permutation(count))
            yield mixed.take(slice(0, count - keep))
            held, count = [mixed.take(slice(count - keep, None))], keep
    if count:
        yield join_rows(held).take(generator.permutation(count))


def batch_rows(stream: Iterable[Rows], batch_size: int) -> Iterator[Rows]:
    """Yield the rows of a stream in batches of one size; the last one may be smaller.

    Example:

    >>> chunks = [Rows({"x": np.arange(n)}, {}) for n in (3, 0, 2)]
    >>> [batch.features["x"].tolist() for batch in batch_rows(chunks, 2)]
    [[0, 1], [2, 0], [1]]
    """
    rest: Rows | None = None
    for chunk in stream:
        if rest is not None:
            chunk = join_rows([rest, chunk])
        count = chunk.length
        whole = count - count % batch_size
        for start in range(0, whole, batch_size):
            yield chunk.take(slice(start, start + batch_size))
        rest = chunk.take(slice(whole, None)) if whole < count else None
    if rest is not None:
        yield rest
