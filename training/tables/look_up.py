"""Small tables that are held in memory, to look rows up in."""

from collections.abc import Mapping

import numpy as np

from moe_zoo.validation import shown

from .columns import Column, TextColumn
from .rows import Columns, Rows, join_rows
from .table import Table


class LookUp:
    r"""The rows of a table by their key.

    Args:
        table: One file, of a size that fits in memory.
        key: The column to look up by.
        columns: The columns to look up.

    Example:

    >>> from pathlib import Path
    >>> from moe_zoo.training.tables.csv_table import read_csv
    >>> _ = Path("users.csv").write_text("user,city\n7,Rome\n8,Bonn\n")
    >>> users = LookUp(read_csv("users.csv"), "user", {"city": TextColumn("city")})
    >>> users.of(np.array(["8", "7", "8"]))
    {'city': array(['Bonn', 'Rome', 'Bonn'], dtype=object)}
    """

    def __init__(self, table: Table, key: str, columns: Mapping[str, Column]):
        batches = table.batches({"key": TextColumn(key), **columns})
        self._columns, _ = join_rows(Rows(batch, {}) for batch in batches)
        self._path, self._key = table.paths[0], key
        self._places = {name: place for place, name in enumerate(self._columns.pop("key"))}

    def of(self, keys: np.ndarray) -> Columns:
        """The columns of some keys.

        Args:
            keys: Strings.

        Returns:
            `dict` of column to array, a row for each key.

        Raises:
            ValueError: If the table has no row of a key.
        """
        try:
            places = [self._places[key] for key in keys]
        except KeyError as error:
            raise ValueError(
                f"Expected a row for each {self._key} in {self._path}. Received: "
                f"{self._key}={shown(error.args[0])} without one. Check that the files belong "
                "together."
            ) from None
        return {name: values[places] for name, values in self._columns.items()}
