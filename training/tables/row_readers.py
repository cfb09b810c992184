"""Readers of the parts of a table: from separate files, or drawn at random."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping

from moe_zoo.validation import LARGEST_INT, check_int, shown

from .recommender_data import Reader
from .rows import Rows, draw_parts

Stream = Callable[[], Iterator[Rows]]
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def split_by_files(readers: Mapping[str, Stream]) -> Reader:
    """Return a reader of parts that have files of their own.

    Args:
        readers: Function that reads the rows, for each part.

    Returns:
        Function of the names of the wanted parts; files of other parts are not read.
    """

    def read(wanted: Collection[str]) -> Iterator[tuple[str, Rows]]:
        for part, stream in readers.items():
            if part in wanted:
                yield from ((part, rows) for rows in stream())

    return read


def split_by_draws(stream: Stream, seed: int, shares: Mapping[str, float] | None = None) -> Reader:
    """Return a reader of parts that are drawn row by row, the same in every epoch.

    Args:
        stream: Function that reads all rows.
        seed: Seed of the draws.
        shares: Share of each part, which add up to 1; by default 70, 15 and 15 percent.

    Returns:
        Function of the names of the wanted parts.

    Raises:
        ValueError: If a share is negative, or the shares do not add up to 1.
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
