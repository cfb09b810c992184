"""Tables in Parquet files, read by pyarrow."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
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
from .table import Table, check_columns, check_different, find_files, value_error
from .value_type import ValueType

SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class ParquetTable(Table):
    """Parquet files; see `read_parquet`, which makes one."""

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
                batch = {}
                for name, column in columns.items():
                    raw = chunk.column(column.source)
                    try:
                        batch[name] = column.parse(_values(raw, column, clean))
                    except BadValue as error:
                        value = raw[error.position].as_py()
                        where = f"{path}, row {first + error.position}"
                        raise value_error(error, column.source, value, where) from None
                first += len(chunk)
                yield batch


def read_parquet(path: str | os.PathLike | Sequence[str | os.PathLike]) -> ParquetTable:
    """A table in Parquet files. It needs pyarrow.

    Numbers and booleans are numbers, null is a missing value. Ids keep their type: strings, or
    whole numbers with -1 for null. Lists are lists. Labels that are read as text are written
    without a point where they are whole numbers.

    Args:
        path: A file, several, or a folder of them.

    Returns:
        `ParquetTable`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If pyarrow is not installed.
    """
    _pyarrow_parquet()
    return ParquetTable(find_files(path, SUFFIXES))


def _values(array: Any, column: Column, clean: CleanText) -> Any:
    """Values of an Arrow array as a column wants them."""
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
    """The file. Arrow reads damaged parts of it only when their turn comes."""
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
