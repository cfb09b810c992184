"""Infer the kinds of a table's columns from its first rows."""

from collections.abc import Iterable, Sequence

import numpy as np

from moe_zoo.validation import shown

from .cells import parse_numbers
from .columns import BadValue, Column, ListColumn, NumberColumn, TextColumn
from .table import Table
from .value_type import ValueType

MOST_COLUMNS = 2000
FIRST_ROWS = 10_000
FEW_VALUES = 1_000  # distinct strings that a vocabulary and its embedding still hold well
FEW_REPEATS = 2.0  # rows for each distinct string, below which a column is more names than kinds


def infer_kinds(
    table: Table, leave_out: Iterable[str] = ()
) -> tuple[dict[str, dict], dict[str, str]]:
    r"""Return a feature for each column, of the kind that its type and first 10,000 rows suggest.

    Numbers become a `number`, booleans and few distinct strings a `category`, many strings
    `hashed`, and lists in a Parquet file a `list`. Whole numbers that are names, such as user ids,
    look like numbers: give their kind in the settings.

    Args:
        table: Table of the columns.
        leave_out: Columns that are not features.

    Returns:
        `dict` of column to `{"kind": ...}`, and the reasons why others are left out: a column
        without a name, as pandas writes its index, without a value, or of a type that no feature
        takes.

    Raises:
        ValueError: If no column is left, or there are more than a model takes.

    Example:

    >>> from pathlib import Path
    >>> from moe_zoo.training.tables.csv_table import read_csv
    >>> _ = Path("t.csv").write_text("age,city,zip,click" + "\n3,Rome,,1" * 9)
    >>> infer_kinds(read_csv("t.csv"), leave_out=["click"])
    ({'age': {'kind': 'number'}, 'city': {'kind': 'category'}}, {'zip': 'no value'})
    """
    out = set(leave_out)
    names = table.names(table.paths[0])
    if len(names) > MOST_COLUMNS:
        raise ValueError(
            f"Expected a table of at most {MOST_COLUMNS:,} columns, whose kinds are inferred. "
            f"Received: {len(names):,} columns in {table.paths[0]}. Name the features."
        )
    types = {name: table.type_of(name) for name in names if name and name not in out}
    left_out = {"": "a column without a name"} if "" in names else {}
    left_out |= {name: held.shown for name, held in types.items() if not _usable(held)}
    columns = {name: _column(name, held) for name, held in types.items() if _usable(held)}
    batch = next(table.batches(columns, rows=FIRST_ROWS)) if columns else {}
    found = {}
    for name, values in batch.items():
        values = values[values != ""] if values.dtype == object else values[np.isfinite(values)]
        if len(values):
            found[name] = {"kind": _kind(values, types[name])}
        else:
            left_out[name] = "no value"
    if not found:
        raise ValueError(
            f"Expected columns besides the labels. Received: {shown(sorted(out))} as labels and no "
            "other column with a value. A model needs a feature."
        )
    return found, left_out


def _usable(held: ValueType) -> bool:
    return held.dtype != "other" and not (held.is_list and held.id_dtype is None)


def _column(source: str, held: ValueType) -> Column:
    if held.is_list:
        return ListColumn(source, dtype=held.id_dtype or "string")
    return TextColumn(source) if held.id_dtype == "string" else NumberColumn(source)


def _kind(values: np.ndarray, held: ValueType) -> str:
    if held.is_list:
        return "list"
    if held.id_dtype != "string":
        return "category" if held.dtype == "bool" else "number"
    if held.dtype == "text" and _are_numbers(values.tolist()):
        return "number"
    distinct = len(set(values))
    many = distinct > FEW_VALUES or (distinct > 100 and len(values) < FEW_REPEATS * distinct)
    return "hashed" if many else "category"


def _are_numbers(texts: Sequence[str]) -> bool:
    try:
        parse_numbers(texts, str)
        return True
    except BadValue:
        return False
