"""What the columns of a table seem to be, by its first rows."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .cells import parse_numbers
from .columns import BadValue, Column
from .table import Table

FIRST_ROWS = 10_000
FEW_VALUES = 1_000  # distinct strings that a vocabulary and its embedding still hold well
FEW_REPEATS = 2.0  # rows for each distinct string, below which a column is more names than kinds


def infer_kinds(table: Table, leave_out: Iterable[str] = ()) -> dict[str, dict]:
    r"""A feature for each column, with the kind that its first 10,000 rows suggest.

    Numbers are a `number`, few distinct strings a `category`, many are `hashed`, and lists in a
    Parquet file a `list`. A column that never has a value is left out. Whole numbers that are
    names, such as user ids, look like numbers: say so in the settings.

    Args:
        table: The table.
        leave_out: Columns that are no features.

    Returns:
        `dict` of column to `{"kind": ...}`.

    Raises:
        ValueError: If no column is left.

    Example:

    >>> from pathlib import Path
    >>> from moe_zoo.training.tables.csv_table import read_csv
    >>> _ = Path("t.csv").write_text("age,city,click" + "\n3,Rome,1" * 9)
    >>> infer_kinds(read_csv("t.csv"), leave_out=["click"])
    {'age': {'kind': 'number'}, 'city': {'kind': 'category'}}
    """
    out = set(leave_out)
    names = [name for name in table.names(table.paths[0]) if name not in out]
    first = table.batches({name: _AnyColumn(name) for name in names}, rows=FIRST_ROWS)
    batch = next(iter(itertools.islice(first, 1))) if names else {}
    kinds = {name: _kind([v for v in values if v]) for name, values in batch.items()}
    found = {name: {"kind": kind} for name, kind in kinds.items() if kind}
    if not found:
        raise ValueError(
            f"Expected columns beside the labels. Received: {sorted(out)!r} as labels and no other "
            "column with a value. A model needs a feature."
        )
    return found


@dataclass(frozen=True)
class _AnyColumn(Column):
    """Strings or lists of strings, as they are."""

    lists = True

    def parse(self, values):
        held = np.empty(len(values), dtype=object)
        for place, value in enumerate(values):
            held[place] = value
        return held


def _kind(values: list) -> str | None:
    if not values:
        return None
    if isinstance(values[0], list):
        return "list"
    try:
        parse_numbers(values, str)
        return "number"
    except BadValue:
        distinct = len(set(values))
        many = distinct > FEW_VALUES or (distinct > 100 and len(values) < FEW_REPEATS * distinct)
        return "hashed" if many else "category"
