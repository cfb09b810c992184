"""The columns of a table that make features and labels."""

from collections.abc import Mapping

from .column_settings import feature_settings, task_settings
from .recommender_data import Reader, RecommenderData
from .row_readers import Stream, table_stream
from .table import Table


class TableColumns:
    """What is read of a table, and what a model makes of it.

    Args:
        features: What each feature is, as `feature_settings` takes it.
        tasks: What each task is, as `task_settings` takes it.

    Raises:
        ValueError: If a kind, an option or its value is not known.

    Example:

    >>> columns = TableColumns({"age": "number"}, {"click": "binary"})
    >>> columns.features, columns.labels["click"]
    ({'age': {'kind': 'number'}}, BinaryLabel(source='click'))
    """

    def __init__(self, features: Mapping[str, str | Mapping], tasks: Mapping[str, str | Mapping]):
        read = {name: feature_settings(name, settings) for name, settings in features.items()}
        learned = {name: task_settings(name, settings) for name, settings in tasks.items()}
        self.inputs = {name: column for name, (column, _) in read.items()}
        self.features = {name: description for name, (_, description) in read.items()}
        self.labels = {name: column for name, (column, _) in learned.items()}
        self.tasks = {name: description for name, (_, description) in learned.items()}

    def stream(self, table: Table) -> Stream:
        """The rows of a table, as often as they are asked for."""
        return table_stream(table, self.inputs, self.labels)

    def data(self, read: Reader, description: str) -> RecommenderData:
        """`RecommenderData` of these columns, with what reads its parts."""
        return RecommenderData(self.features, self.tasks, read, description)
