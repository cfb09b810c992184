"""Tables in Parquet files, read by pyarrow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cells import CleanText, parse_numbers
from .columns import BadValue, Column
from .table import Table, find_files, value_error

SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class ParquetTable(Table):
    """Parquet files; see `read_parquet`, which makes one."""

    def names(self, path):
        with _open(path) as file:
            return list(file.schema_arrow.names)

    def _read(self, path, columns, rows):
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

    Numbers and booleans are numbers, null is a missing value; where a column is read as text,
    whole numbers are written without a point. Lists are lists.

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


def _values(array, column: Column, clean: CleanText):
    """Values of an Arrow array as a column wants them."""
    from pyarrow import types

    kind = array.type
    if types.is_list(kind) or types.is_large_list(kind):
        if not column.lists:
            raise BadValue(0, "one value a row", "Take the column as a feature of kind `list`.")
        return [_text(value) for value in array.to_pylist()]
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if column.numeric and (number or types.is_decimal(kind)):
        numbers = np.array(
            [np.nan if value is None else float(value) for value in array.to_pylist()]
            if array.null_count or not (types.is_integer(kind) or types.is_floating(kind))
            else array.to_numpy(zero_copy_only=False),
            dtype=np.float64,
        )
        if np.isinf(numbers).any():
            position = int(np.argmax(np.isinf(numbers)))
            raise BadValue(position, "a finite number", "Correct the value.")
        return numbers
    texts = [_text(value) for value in array.to_pylist()]
    if column.numeric:
        return parse_numbers(texts, str.strip)
    return clean.all(texts)


def _text(value):
    if value is None:
        return ""
    if isinstance(value, list):
        return [text for text in map(_text, value) if text]
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else "" if np.isnan(value) else repr(value)
    return value if isinstance(value, str) else str(value)


def _open(path: Path):
    parquet = _pyarrow_parquet()
    from pyarrow import ArrowException

    try:
        return parquet.ParquetFile(path, pre_buffer=False)
    except (ArrowException, OSError) as error:
        raise ValueError(
            f"Expected a Parquet file. Received: {str(path)!r}, which is empty, broken or of "
            f"another format: {error}. Check the path, or fetch the file again."
        ) from error


def _pyarrow_parquet():
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Expected pyarrow, which reads Parquet files. Received: an environment without it. "
            "Install it with `pip install pyarrow`, or write the table as CSV."
        ) from error
    return parquet
