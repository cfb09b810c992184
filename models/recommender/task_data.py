"""Convert the data for `fit`, `evaluate` and `predict` to tensors by task."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models.recommender.features.columns import as_column, as_table, check_columns
from moe_zoo.validation import check_at_least, check_names, shown

from .batches import PIPELINES, ReadBatches, dataset_of, is_batches
from .tasks import RegressionTask, Task


class TaskData:
    """Reads columns, labels and weights for a model.

    Args:
        read_inputs: function of a table to `dict` of tensors.
        tasks: list of `Task` with labels.
    """

    def __init__(self, read_inputs: Callable[[Any], dict], tasks: list[Task]):
        self.read_inputs, self.tasks = read_inputs, tasks

    def read(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        labelled: bool = True,
    ) -> tuple[Any, Any, Any]:
        """Return data as Keras' adapters accept them.

        Args:
            x: table in memory, or batches: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
                generator, or another iterable of `(x, y)` or `(x, y, sample_weight)`, tuples or
                lists.
            y: labels of a table in memory.
            sample_weight: weights of a table in memory.
            class_weight: `dict` of weight by class.
            labelled: `bool`, whether labels are needed; else they are left out.

        Returns:
            Inputs, labels and sample weights, the latter two `None` if `x` holds batches.
        """

        def read_batch(batch: Any) -> tuple:
            parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            if labelled and not 2 <= len(parts) <= 3:
                raise ValueError(
                    "Expected batches of (features, labels) or (features, labels, sample weights). "
                    f"Received: {type(batch).__name__} of {len(parts)}. Yield a tuple."
                )
            x, y, weight = (*parts, None, None)[:3]
            x = {name: _ragged(values) for name, values in self.read_inputs(x).items()}
            if not labelled:
                return (x,)
            y, weight = self._in_memory(y, weight, class_weight)
            y = {name: tf.cast(values, tf.float32) for name, values in y.items()}
            _check_rows(x, y, weight)
            return (x, y) if weight is None else (x, y, weight)

        if not is_batches(x):
            x = self.read_inputs(x)
            if labelled:
                y, sample_weight = self._in_memory(y, sample_weight, class_weight)
                _check_rows(x, y, sample_weight)
            else:
                _check_rows(x)
            return x, y, sample_weight
        if y is not None or sample_weight is not None:
            raise ValueError(
                f"Expected labels and sample weights within the batches. Received: them next to "
                f"x={type(x).__name__}. Let it yield (x, y, sample_weight)."
            )
        if isinstance(x, PIPELINES):
            return (self._weighted(x, class_weight) if labelled else x), None, None
        if isinstance(x, keras.utils.PyDataset):
            return ReadBatches(x, read_batch), None, None
        return dataset_of(x, read_batch), None, None

    def labels(self, y: Any) -> dict[str, Any]:
        """Return labels by task, unchanged; a single task's may come without a `dict`.

        Raises:
            ValueError: If labels of a task are missing.
        """
        y = as_table(y)
        if y is not None and not isinstance(y, dict) and len(self.tasks) == 1:
            y = {self.tasks[0].name: y}
        check_columns(y, [task.name for task in self.tasks], "label")
        return {task.name: y[task.name] for task in self.tasks}

    def weights(self, sample_weight: Any) -> dict[str, Any]:
        """Return sample weights by task, `None` for a task without.

        Raises:
            ValueError: If a name is not a task with a label.
        """
        names = [task.name for task in self.tasks]
        if not isinstance(sample_weight, dict):
            return dict.fromkeys(names, sample_weight)
        check_names(sample_weight, names, "sample weights of tasks with labels")
        return {name: sample_weight.get(name) for name in names}

    def _in_memory(
        self,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> tuple[dict[str, tf.Tensor], Any]:
        """Check labels and weights in memory and return them as tensors."""
        y = {name: _flat(name, labels) for name, labels in self.labels(y).items()}
        for task in self.tasks:
            task.check(y[task.name])
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Expected class_weight or sample_weight. Received: both. Multiply them, and "
                    "give the product as sample_weight."
                )
            return y, self._class_weights(y, class_weight)
        if sample_weight is None:
            return y, None
        given = self.weights(as_table(sample_weight))
        read = {name: _read_weight(name, x) for name, x in given.items() if x is not None}
        # Keras takes weights for all labels or for none.
        ones = {task.name: tf.ones(tf.shape(y[task.name])[:1]) for task in self.tasks}
        return y, {**ones, **read}

    def _class_weights(self, y: dict[str, Any], class_weight: Mapping[int, float]) -> tf.Tensor:
        """Return sample weights from class weights, `<float32>[B]`."""
        task = self.tasks[0]
        if len(self.tasks) > 1 or isinstance(task, RegressionTask):
            what = "several tasks" if len(self.tasks) > 1 else repr(task)
            raise ValueError(
                f"Expected class_weight for a single task of classes. Received: {what}. Give "
                "sample_weight, a dict of arrays by task."
            )
        classes = range(max(2, task.units))
        if not isinstance(class_weight, Mapping) or set(class_weight) - set(classes):
            raise ValueError(
                f"Expected a dict of weights by class, from 0 to {classes[-1]}. Received: "
                f"class_weight={shown(class_weight)}. Classes left out weigh 1."
            )
        weights = {i: check_at_least("class_weight", x, 0.0) for i, x in class_weight.items()}
        by_class = tf.constant([weights.get(i, 1.0) for i in classes])
        labels, _ = task.read(y[task.name])
        places = tf.clip_by_value(tf.cast(labels, tf.int32), 0, classes[-1])
        return tf.gather(by_class, places)

    def _weighted(self, dataset: Any, class_weight: Mapping[int, float] | None) -> Any:
        """Return the pipeline with sample weights from class weights, if there are any."""
        if class_weight is None:
            return dataset

        def add(x: Any, y: Any, *weights: Any) -> tuple:
            if weights:
                raise ValueError(
                    "Expected class_weight or sample weights in the dataset. Received: both. "
                    "Multiply them there."
                )
            return x, y, self._class_weights(self.labels(y), class_weight)

        return dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE)


def _check_rows(*tables: Any) -> None:
    """Refuse columns, labels or weights of another number of rows than the first column.

    Raises:
        ValueError: If a column has another number of rows than the first.
    """
    columns = [item for table in tables if isinstance(table, dict) for item in table.items()]
    rows = columns[0][1].shape[0]
    for name, values in columns:
        if values.shape[0] != rows:
            raise ValueError(
                f"Expected {rows} values in {shown(name)}, as in {shown(columns[0][0])}. Received: "
                f"{values.shape[0]}. Give one for each row, missing ones as NaN or None."
            )


def _ragged(values: Any) -> Any:
    """Return lists of a batch as a ragged tensor: another batch may have another length."""
    if isinstance(values, tf.RaggedTensor) or values.shape.rank != 2:
        return values
    return tf.RaggedTensor.from_tensor(values)


def _flat(name: str, values: Any) -> Any:
    """Return a column in memory as a tensor, `[B]` in place of `[B, 1]`."""
    values = as_column(name, values)
    if not isinstance(values, tf.RaggedTensor) and values.shape.rank == 2 and values.shape[1] == 1:
        return tf.squeeze(values, 1)
    return values


def _read_weight(name: str, values: Any) -> tf.Tensor:
    """Return the sample weights of a task, `<float32>[B]`."""
    values = _flat(f"sample_weight of {name}", values)
    if values.shape.rank != 1 or values.dtype == tf.string:
        raise ValueError(
            f"Expected one sample weight in each row for task {shown(name)}. Received: "
            f"shape={tuple(values.shape)}, dtype={values.dtype.name}. Give an array of one number "
            "a row, or a dict of such arrays by task."
        )
    values = tf.cast(values, tf.float32)
    wrong = ~tf.math.is_finite(values)
    if bool(tf.reduce_any(wrong)):
        raise ValueError(
            f"Expected finite sample weights of task {shown(name)}. Received: "
            f"{float(tf.boolean_mask(values, wrong)[0])}. 0 leaves a row out."
        )
    return values
