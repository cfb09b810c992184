"""Text files, gzipped or not, and the rows in their lines."""

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from moe_zoo.validation import shown

from .bounded_lines import CHUNK, BoundedLines, open_unpacked


@contextlib.contextmanager
def open_text(path: Path, encoding: str, skip_lines: int = 0) -> Iterator[TextIO]:
    """Open the text of a file, with errors that name the file.

    Args:
        path: Path of the file; a name that ends in `.gz` is a gzip file.
        encoding: Encoding of the text.
        skip_lines: Lines at the start to leave out.

    Yields:
        The open file, which keeps its line ends.

    Raises:
        ValueError: While the file is read, if it is broken or a line is too long.
    """
    try:
        with open_unpacked(path) as raw:
            lines = io.BufferedReader(BoundedLines(raw, path, encoding), CHUNK)
            with io.TextIOWrapper(lines, encoding=encoding, newline="") as file:
                for _ in range(skip_lines):
                    if not file.readline():
                        break
                yield file
    except UnicodeError as error:
        raise ValueError(
            f"Expected text in {encoding}. Received: {shown(str(path))}, which is not: {error}. "
            "Name its encoding, for example encoding='latin-1'."
        ) from error


@contextlib.contextmanager
def longest_field(characters: int) -> Iterator[None]:
    """Within this context, the csv module accepts fields of this length in place of 131,072.

    The limit belongs to the process, so it is set back.
    """
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def row_error(error: csv.Error, path: Path, line: int) -> ValueError:
    """Return the error for a row that the csv module cannot read, with the line it starts in."""
    if "field limit" in str(error):
        return ValueError(
            f"Expected fields of at most {csv.field_size_limit():,} characters. Received: "
            f"{shown(str(path))}, whose row in line {line} has a longer one. Shorten it, or look "
            "for a quote that does not close; quote=None takes quotes for text."
        )
    return ValueError(
        f"Expected a table in which quotes close. Received: {shown(str(path))} with a row in line "
        f"{line} that does not: {error}. Set quote=None if its quotes are part of the text."
    )


def split_lines(
    lines: Iterable[str], delimiter: str = ",", quote: str | None = None, strip: bool = False
) -> Iterator[list[str]]:
    r"""Yield the values of each line; an empty line has none.

    Args:
        lines: Lines with their ends.
        delimiter: One letter or several between two values.
        quote: Letter around values that contain the delimiter; not used if the delimiter has
            several letters.
        strip: Whether to remove spaces after a delimiter.

    Returns:
        Iterator of lists.

    Example:

    >>> list(split_lines(["1::Toy Story\n", "\n"], delimiter="::"))
    [['1', 'Toy Story'], []]
    """
    if len(delimiter) > 1:  # the csv module knows delimiters of one letter only
        texts = (line.rstrip("\r\n") for line in lines)
        return (text.split(delimiter) if text else [] for text in texts)
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        skipinitialspace=strip,
        strict=True,
    )


class CountedLines:
    """The lines of a file, and how many of them have been read.

    Args:
        file: An open text file, or other lines.
    """

    def __init__(self, file: Iterable[str]):
        self.lines, self.count = iter(file), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.count += 1
        return line
