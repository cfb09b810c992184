"""Readers of the parts of a table: from separate files, or drawn at random."""

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping

from moe_zoo.validation import LARGEST_INT, check_int, shown

from .columns import Column
from .recommender_data import Reader
from .rows import Rows, draw_parts
from .table import Table

Stream = Callable[[], Iterator[Rows]]
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def table_stream(
    table: Table, features: Mapping[str, Column], labels: Mapping[str, Column]
) -> Stream:
    """Return a function that reads the rows of a table.

    Args:
        table: Where they stand.
        features: Column of each feature.
        labels: Column of each task. Its name is not that of a feature.

    Returns:
        A function without arguments that starts to read.
    """
    return functools.partial(_read_table, table, dict(features), dict(labels))


def _read_table(
    table: Table, features: Mapping[str, Column], labels: Mapping[str, Column]
) -> Iterator[Rows]:
    for batch in table.batches({**features, **labels}):
        yield Rows({name: batch[name] for name in features}, {name: batch[name] for name in labels})


def split_by_files(readers: Mapping[str, Stream]) -> Reader:
    """Return a reader of parts that have files of their own.

    Args:
        readers: The rows of each part.

    Returns:
        Function of the names of the wanted parts; files of others are not read.
    """

    def read(wanted: Collection[str]) -> Iterator[tuple[str, Rows]]:
        for part, stream in readers.items():
            if part in wanted:
                yield from ((part, rows) for rows in stream())

    return read


def split_by_draws(stream: Stream, seed: int, shares: Mapping[str, float] | None = None) -> Reader:
    """Return a reader of parts that are drawn row by row, the same in every epoch.

    Args:
        stream: All rows.
        seed: Of the draws.
        shares: Share of each part, 1 together; by default 70, 15 and 15 percent.

    Returns:
        Function of the names of the wanted parts.

    Raises:
        ValueError: If a share is negative, or they do not sum up to 1.
    """
    shares = SHARES if shares is None else dict(shares)
    check_int("seed", seed, 0, LARGEST_INT)
    if min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"Expected shares of at least 0 that sum up to 1. Received: shares={shown(shares)}. "
            f"{SHARES} are the default."
        )

    def read(wanted: Collection[str]) -> Iterator[tuple[str, Rows]]:
        first = 0
        for rows in stream():
            parts = draw_parts(first, rows.length, shares.values(), seed)
            first += rows.length
            for number, part in enumerate(shares):
                chosen = parts == number
                if part in wanted and chosen.any():
                    yield part, rows.take(chosen)

    return read


def chain_readers(*readers: tuple[tuple[str, ...], Reader]) -> Reader:
    """Combine several readers, each with the names of its parts, into one."""

    def read(wanted: Collection[str]) -> Iterator[tuple[str, Rows]]:
        for parts, reader in readers:
            asked = tuple(part for part in parts if part in wanted)
            if asked:
                yield from reader(asked)

    return read
