"""Tables in Parquet files, read by pyarrow."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moe_zoo.files import check_file
from moe_zoo.validation import one_line, shown

from .arrow_values import as_lists, as_values, value_type
from .cells import CleanText, parse_numbers
from .columns import BadValue, Column, ListColumn
from .rows import Columns
from .table import Table, check_columns, check_different, parse_batch
from .value_type import ValueType

SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class ParquetTable(Table):
    """Parquet files, which pyarrow reads.

    Numbers and booleans are numbers, null is a missing value. Ids keep their type: strings, or
    whole numbers with -1 for null. Lists are lists. Labels that are read as text are written
    without a point where they are whole numbers.

    Raises:
        ImportError: If pyarrow is not installed.
    """

    def __post_init__(self) -> None:
        _pyarrow_parquet()

    def names(self, path: Path) -> list[str]:
        return list(self._schemas[path].names)

    def type_of(self, source: str) -> ValueType:
        found = ValueType("null", shown="null")
        for path, schema in self._schemas.items():
            check_columns(path, [source], schema.names)
            here = value_type(schema.field(source).type)
            both = found.with_values_of(here)
            if both is None:
                raise ValueError(
                    f"Expected one type of values in column {shown(source)}. Received: "
                    f"{found.shown}, and {here.shown} in {path}. Write all files with one schema."
                )
            found = both
        return found

    @functools.cached_property
    def _schemas(self) -> dict[Path, Any]:
        schemas = {}
        for path in self.paths:
            with _open(path) as file:
                schemas[path] = file.schema_arrow
            check_different(schemas[path].names, path, "A column is read by its name.")
        return schemas

    def _read(self, path: Path, columns: Mapping[str, Column], rows: int) -> Iterator[Columns]:
        sources = sorted({column.source for column in columns.values()})
        clean = CleanText()
        with _open(path) as file:
            first = 1
            for chunk in file.iter_batches(batch_size=rows, columns=sources):
                yield _parse(chunk, path, first, columns, clean)
                first += len(chunk)


def _parse(
    chunk: Any, path: Path, first: int, columns: Mapping[str, Column], clean: CleanText
) -> Columns:
    """Parse some rows, the first of which has the number `first`."""
    return parse_batch(
        columns,
        lambda _, column: _values(chunk.column(column.source), column, clean),
        lambda column, position: chunk.column(column.source)[position].as_py(),
        lambda position: f"{path}, row {first + position}",
    )


def _values(array: Any, column: Column, clean: CleanText) -> Any:
    """Return the values of an Arrow array in the form that a column parses."""
    if value_type(array.type).is_list:
        if not isinstance(column, ListColumn):
            raise BadValue(0, "one value a row", "Take the column as a feature of kind `list`.")
        return as_lists(array, column.dtype)
    values = as_values(array, column.dtype)
    if isinstance(values, np.ndarray):
        return values
    return parse_numbers(values, str.strip) if column.dtype == "float64" else clean.all(values)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open the file; Arrow notices damaged parts only when it reads them."""
    parquet = _pyarrow_parquet()
    from pyarrow import ArrowException

    try:
        options = {"pre_buffer": False, "page_checksum_verification": True}
        with parquet.ParquetFile(check_file(path), **options) as file:
            yield file
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Expected a Parquet file. Received: {shown(str(path))}, which is empty, broken or of "
            f"another format: {one_line(error, 300)}. Check the path, or fetch the file again."
        ) from error


def _pyarrow_parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Expected pyarrow, which reads Parquet files. Received: an environment without it. "
            "Install it with `pip install pyarrow`, or write the table as CSV."
        ) from error
    return parquet
