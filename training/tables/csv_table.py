"""Tables in text files, with a delimiter between the values of a row."""

import contextlib
import csv
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from moe_zoo.validation import shown

from .cells import CleanText
from .columns import Column
from .option_checks import FORMAT_CHECKS, check_options
from .rows import Columns
from .table import Table, check_columns, check_different, find_files, parse_batch
from .text_rows import CountedLines, open_text, row_error, split_lines
from .value_type import TEXT, ValueType

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".data", ".data.gz", ".txt", ".txt.gz")
MOST_CELLS = 2**25  # that are held at once: some 2 GB


@dataclass(frozen=True)
class CsvTable(Table):
    """Text files of rows; see `read_csv`, which makes one."""

    columns: tuple[str, ...] | None = None
    delimiter: str = ","
    strip: bool = False
    missing: tuple[str, ...] = ()
    skip_lines: int = 0
    quote: str | None = '"'
    encoding: str = "utf-8-sig"

    def names(self, path: Path) -> list[str]:
        if self.columns is not None:
            return list(self.columns)
        with self._open(path) as file, self._rows_of(path):
            header = next((row for row in self._split(file) if row), None)
        if header is None:
            raise ValueError(
                f"Expected a header with the names of the columns. Received: {shown(str(path))}, "
                "which is empty. Check the path."
            )
        header = [name.strip() for name in header]
        check_different(header, path, "Give the names of all columns if the file has no header.")
        return header

    def type_of(self, source: str) -> ValueType:
        for path in self.paths:
            check_columns(path, [source], self.names(path))
        return TEXT

    def _read(self, path: Path, columns: Mapping[str, Column], rows: int) -> Iterator[Columns]:
        names = self.names(path)
        rows = min(rows, max(1, MOST_CELLS // max(1, len(names))))
        clean = {name: CleanText(self.strip, self.missing) for name in columns}
        first, header = 0, int(self.columns is None)
        for cells in self._chunks(path, len(names), rows):
            by_name = {
                name: cells[header * len(names) + place :: len(names)]
                for place, name in enumerate(names)
            }
            if len(cells) > header * len(names):
                yield self._parse(path, first + header, by_name, columns, clean)
            first += len(cells) // len(names)
            header = 0

    def _parse(
        self,
        path: Path,
        first: int,
        cells: Mapping[str, Sequence[str]],
        columns: Mapping[str, Column],
        clean: Mapping[str, CleanText],
    ) -> Columns:
        def read(name: str, column: Column) -> Any:
            texts, raw = clean[name], cells[column.source]
            return texts.numbers(raw) if column.dtype == "float64" else texts.all(raw)

        def raw(column: Column, position: int) -> str:
            return cells[column.source][position]

        def place(position: int) -> str:
            return f"{path}, line {self._line(path, first + position)}"

        return parse_batch(columns, read, raw, place)

    def _chunks(self, path: Path, width: int, rows: int) -> Iterator[list[str]]:
        """Yield the cells of some rows in sequence, header included, without empty lines.

        Cells and not rows: lists that live on are walked again and again by the garbage collector,
        which takes ten times as long as to read them.
        """
        with self._open(path) as file, self._rows_of(path):
            reader = self._split(file)
            while True:
                cells: list[str] = []
                widths = set()
                for row in itertools.islice(reader, rows):
                    cells += row
                    widths.add(len(row))
                if not widths:
                    return
                if widths - {0, width}:
                    raise self._ragged(path, width)
                if cells:
                    yield cells

    @contextlib.contextmanager
    def _rows_of(self, path: Path) -> Iterator[None]:
        """Within this context, errors of the csv module name the line in which the row starts."""
        try:
            yield
        except csv.Error as error:
            start = 0
            with self._open(path) as file, contextlib.suppress(csv.Error):
                lines = CountedLines(file)
                for _ in self._split(lines):
                    start = lines.count
            raise row_error(error, path, self.skip_lines + start + 1) from error

    def _ragged(self, path: Path, width: int) -> ValueError:
        """Return the error for the first row of another width."""
        with self._open(path) as file:
            lines = CountedLines(file)
            found = next(len(row) for row in self._split(lines) if len(row) not in (0, width))
        return ValueError(
            f"Expected {width} values in each row, delimited by {shown(self.delimiter)}. Received: "
            f"{found} values in {path}, line {self.skip_lines + lines.count}. Check the delimiter, "
            "and quotes around values that hold it."
        )

    def _line(self, path: Path, number: int) -> int:
        """Return the line of a row, counted only when an error needs it, since that takes time."""
        with self._open(path) as file:
            counted = CountedLines(file)
            rows = (row for row in self._split(counted) if row)
            next(itertools.islice(rows, number, None))
            return self.skip_lines + counted.count

    def _open(self, path: Path) -> contextlib.AbstractContextManager[TextIO]:
        return open_text(path, self.encoding, self.skip_lines)

    def _split(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return split_lines(lines, self.delimiter, self.quote, self.strip)


def read_csv(
    path: str | os.PathLike | Sequence[str | os.PathLike],
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    strip: bool = False,
    missing: Sequence[str] = (),
    skip_lines: int = 0,
    quote: str | None = '"',
    encoding: str = "utf-8-sig",
) -> CsvTable:
    r"""Open a table in text files, gzipped or not.

    The files are found now, and read later.

    Args:
        path: A file, several, or a folder of them. A name that ends in `.gz` is a gzip file.
        columns: Names of the columns of a file without a header, all different. By default the
            first line has them.
        delimiter: One letter or several between two values. By default a tab for `.tsv`, else a
            comma.
        strip: Whether to remove spaces around values.
        missing: Values that mark a missing one, such as `"?"`, in addition to an empty cell.
        skip_lines: Lines at the start that are not part of the table.
        quote: Letter around values that contain the delimiter; `None` if quotes are text.
        encoding: Encoding of the text.

    Returns:
        `CsvTable`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the delimiter is empty or is the quote, or another option has a wrong type.

    Example:

    >>> from moe_zoo.training.tables.columns import NumberColumn, TextColumn
    >>> _ = Path("people.csv").write_text("name,age\nAnn,37\nBob,\n")
    >>> for batch in read_csv("people.csv").batches({"age": NumberColumn("age")}):
    ...     print(batch)
    {'age': array([37., nan])}
    """
    format = {
        "columns": columns,
        "delimiter": delimiter,
        "strip": strip,
        "missing": missing,
        "skip_lines": skip_lines,
        "quote": quote,
        "encoding": encoding,
    }
    return csv_table(find_files(path, SUFFIXES), format)


def csv_table(paths: tuple[Path, ...], format: Mapping[str, Any]) -> CsvTable:
    """Make the table of text files that exist.

    Args:
        paths: Paths of the files.
        format: Arguments of `read_csv` by name.
    """
    checked = check_options(format, FORMAT_CHECKS, "the format")
    check_different(checked.get("columns", ()), paths[0], "Name each column once in `columns`.")
    if checked.get("delimiter") is None:
        tabs = paths[0].name.removesuffix(".gz").endswith(".tsv")
        checked["delimiter"] = "\t" if tabs else ","
    if format.get("quote", '"') is None:
        checked["quote"] = None
    elif checked["delimiter"] == checked.get("quote", '"'):
        raise ValueError(
            f"Expected a delimiter other than the quote. Received: delimiter="
            f"{shown(checked['delimiter'])}, quote={shown(checked.get('quote'))}. Set quote=None "
            "for a table without quotes."
        )
    return CsvTable(paths=paths, **checked)
