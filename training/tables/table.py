"""Tables in files, read as a stream of column batches."""

import abc
import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_zoo.files import check_file
from moe_zoo.validation import check_int, did_you_mean, shorten, shown

from .columns import BadValue, Column
from .rows import Columns
from .value_type import ValueType

CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Table(abc.ABC):
    """Rows in one or several files, which are read in turn and never held as a whole.

    Attributes:
        paths: Paths of the files, in the order of their rows.
    """

    paths: tuple[Path, ...]

    @abc.abstractmethod
    def names(self, path: Path) -> list[str]:
        """Return the names of the columns of one file."""

    @abc.abstractmethod
    def type_of(self, source: str) -> ValueType:
        """Return the type of a column, the same in all files.

        Raises:
            ValueError: If a file lacks the column, or has it with another type.
        """

    @abc.abstractmethod
    def _read(self, path: Path, columns: Mapping[str, Column], rows: int) -> Iterator[Columns]:
        """Yield batches of one file, which has all `columns`."""

    def batches(self, columns: Mapping[str, Column], rows: int = CHUNK_ROWS) -> Iterator[Columns]:
        """Yield all rows, in the order of the files.

        Args:
            columns: Columns to read, by the names of the arrays to return.
            rows: Rows in a batch; the last one of a file may hold fewer, and so may all batches of
                a table of many columns.

        Yields:
            `dict` of name to array, as the columns say.

        Raises:
            ValueError: If a column is missing, there is no row, or a row or value is wrong.
        """
        check_int("rows", rows, 1)
        found = 0
        for path in self.paths:
            check_columns(path, [column.source for column in columns.values()], self.names(path))
            for batch in self._read(path, columns, rows):
                found += len(next(iter(batch.values()))) if batch else 0
                yield batch
        if not found:
            raise ValueError(
                f"Expected a table with rows. Received: {_shown(self.paths)} with none. Check the "
                "path, and whether the first line is a header."
            )


def check_columns(path: Path, sources: Iterable[str], names: Sequence[str]) -> None:
    """Raise `ValueError` for the first column that is not among the `names` of a file."""
    known = set(names)
    for source in sources:
        if source not in known:
            raise ValueError(
                f"Expected a column {shown(source)} in {path}. Received: columns {shorten(names)}."
                f"{did_you_mean(source, names)[:300] or ' Check its name.'}"
            )


def check_different(names: Sequence[str], path: Path, advice: str) -> None:
    """Raise `ValueError` if two columns of a file have the same name."""
    if len(set(names)) < len(names):
        twice = collections.Counter(names).most_common(1)[0][0]
        raise ValueError(
            f"Expected different names of columns. Received: {shown(twice)} twice in {path}. "
            f"Rename one. {advice}"
        )


def parse_batch(
    columns: Mapping[str, Column],
    read: Callable[[str, Column], Any],
    raw: Callable[[Column, int], object],
    place: Callable[[int], str],
) -> Columns:
    """Parse the values of some rows, with errors that name the value and its place.

    Args:
        columns: Columns by name.
        read: Function of a name and its column that returns the values to parse.
        raw: Function of a column and a position that returns the value as the file has it.
        place: Function of a position that returns the file and the line or row.

    Raises:
        ValueError: If a value is not what its column expects.
    """
    batch = {}
    for name, column in columns.items():
        try:
            batch[name] = column.parse(read(name, column))
        except BadValue as error:
            value = raw(column, error.position)
            raise ValueError(
                f"Expected {error.expected} in column {shown(column.source)}. Received: "
                f"value={shown(value)} in {place(error.position)}. {error.advice}"
            ) from None
    return batch


def find_files(
    path: str | os.PathLike | Sequence[str | os.PathLike], suffixes: Sequence[str]
) -> tuple[Path, ...]:
    """Return the files of a table: a file, several, or those of a folder by their suffixes.

    Args:
        path: A file, a folder or a sequence of files.
        suffixes: Endings of the names of tables in a folder.

    Returns:
        `tuple` of at least one path.

    Raises:
        FileNotFoundError: If there is no such file, or none in the folder.
        ValueError: If a path is neither a file nor a folder, or no path is given.
    """
    if not isinstance(path, str | os.PathLike):
        files = tuple(file for part in path for file in find_files(part, suffixes))
        if not files:
            raise ValueError("Expected a file or more. Received: path=[]. Name those of the table.")
        return files
    path = Path(path).expanduser()
    if path.is_dir():
        files = tuple(
            sorted(
                check_file(file)
                for file in path.iterdir()
                if file.name.endswith(tuple(suffixes)) and not file.name.startswith((".", "_"))
            )
        )
        if files:
            return files
        raise FileNotFoundError(
            f"Expected files that end in {', '.join(suffixes)}. Received: path={shown(str(path))}, "
            "a folder without one. Name the files of the table."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a file or folder of a table. Received: path={shown(str(path))}, which does "
            "not exist. Check the path."
        )
    return (check_file(path),)


def _shown(paths: Sequence[Path]) -> str:
    return shorten([repr(str(path)) for path in paths], most=3)
