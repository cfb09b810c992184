"""Columns of a table that become features and labels."""

import functools
from collections.abc import Callable, Iterator, Mapping

from moe_zoo.validation import shown

from .column_settings import feature_settings, task_settings
from .recommender_data import Reader, RecommenderData
from .row_readers import Stream
from .rows import Rows
from .table import Table
from .value_type import ValueType, all_text


class TableColumns:
    """Columns to read from a table, and descriptions of the features and tasks they become.

    Args:
        features: Kind and options of each feature, as `feature_settings` takes them.
        tasks: Kind and options of each task, as `task_settings` takes them.
        type_of: Function of a column's name in the file that gives its type.

    Raises:
        ValueError: If a kind, an option or its value is unknown, or does not fit the type.

    Example:

    >>> columns = TableColumns({"age": "number"}, {"click": "binary"})
    >>> columns.features, columns.labels["click"]
    ({'age': {'kind': 'number'}}, BinaryLabel(source='click'))
    """

    def __init__(
        self,
        features: Mapping[str, str | Mapping],
        tasks: Mapping[str, str | Mapping],
        type_of: Callable[[str], ValueType] = all_text,
    ):
        read = {name: feature_settings(name, given, type_of) for name, given in features.items()}
        learned = {name: task_settings(name, settings) for name, settings in tasks.items()}
        self.inputs = {name: column for name, (column, _) in read.items()}
        self.features = {name: description for name, (_, description) in read.items()}
        self.labels = {name: column for name, (column, _) in learned.items()}
        self.tasks = {name: description for name, (_, description) in learned.items()}

    def stream(self, table: Table) -> Stream:
        """Return a function that reads the rows of a table."""
        return functools.partial(self._read, table)

    def _read(self, table: Table) -> Iterator[Rows]:
        for batch in table.batches({**self.inputs, **self.labels}):
            features, labels = (
                {name: batch[name] for name in x} for x in (self.inputs, self.labels)
            )
            yield Rows(features, labels)

    def check_same(self, other: "TableColumns") -> None:
        """Raise `ValueError` for the first feature that another table stores as another type."""
        for name, column in self.inputs.items():
            if other.inputs[name] != column:
                raise ValueError(
                    f"Expected columns of one type in the files of all parts. Received: feature "
                    f"{shown(name)} as {column} and as {other.inputs[name]}. Write them with one "
                    "schema."
                )

    def data(self, read: Reader, description: str) -> RecommenderData:
        """Return `RecommenderData` of these columns with a reader of its parts."""
        return RecommenderData(self.features, self.tasks, read, description)
