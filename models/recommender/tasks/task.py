"""The base class of tasks."""

import abc
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_at_least, check_bool, check_int, check_sizes, shown


class Task(abc.ABC):
    """One thing to predict: its output, its loss in each row, its metrics.

    A label may be missing in any row: NaN in a column of floats, and `missing_label` in any column.
    Such a row adds nothing to the task's loss and metrics.

    Args:
        name: `str`, of the label, of the output and in front of its metrics.
        weight: `float`, of its loss.
        tower: hidden units of its own layers after the mixing.
        label: `bool`, whether there are labels; without them it has neither loss nor metrics.
        missing_label: `int` that means a missing label, as NaN does, such as -1; `None` if all
            whole numbers are labels.

    Raises:
        ValueError: If `name` is not a text without '/', `weight` is negative, or a size is not
            positive, or `missing_label` is not a whole number or is a valid label.
    """

    uncertainty_scale = 1.0  # `c` of the learned weights
    classes = 0  # labels are 0 to below it; 0 where any number is one

    def __init__(
        self,
        name: str,
        weight: float = 1.0,
        tower: Sequence[int] = (8,),
        label: bool = True,
        missing_label: int | None = None,
    ):
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(
                f"Expected a name without '/'. Received: name={shown(name)}. Name the task by the "
                "column of its labels."
            )
        self.name, self.label = name, check_bool("label", label)
        self.weight = check_at_least("weight", weight, 0.0)
        self.tower = check_sizes("tower", tower, least=0)
        self.missing_label = missing_label
        if missing_label is not None:
            self.missing_label = check_int("missing_label", missing_label, least=-(2**31))
            if 0 <= self.missing_label < self.classes:
                raise ValueError(
                    f"Expected a missing_label outside of 0 to {self.classes - 1}, which are "
                    f"labels. Received: missing_label={shown(missing_label)}. -1 is common."
                )

    @property
    def units(self) -> int:
        """The number of logits."""
        return 1

    @property
    @abc.abstractmethod
    def accepts(self) -> str:
        """The labels, in words."""

    def output(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the prediction, `<float32>[B]` or `[B, C]`, of logits `<float32>[B, units]`."""
        return self.activate(tf.squeeze(logits, -1) if self.units == 1 else logits)

    @abc.abstractmethod
    def activate(self, logits: tf.Tensor) -> tf.Tensor:
        pass

    @abc.abstractmethod
    def row_losses(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Return the loss of each row, `<float32>[B]`, of valid labels."""

    @abc.abstractmethod
    def metrics(self) -> list[keras.metrics.Metric]:
        """Return Keras metrics, each named without the task."""

    @abc.abstractmethod
    def fits(self, labels: tf.Tensor) -> tf.Tensor:
        """Return which labels are valid: `<bool>[B]`."""

    def present(self, labels: tf.Tensor) -> tf.Tensor:
        """Return which rows have a label: `<bool>[B]`."""
        present = tf.ones_like(labels, tf.bool)
        if labels.dtype.is_floating:
            present = ~tf.math.is_nan(labels)
        if self.missing_label is not None:
            present &= labels != tf.cast(self.missing_label, labels.dtype)
        return present

    def read(self, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return labels, 0 where missing, and where they are present: `<number>[B]`, `<bool>[B]`.

        Raises:
            ValueError: If the labels are strings, or not one in each row.
        """
        if not isinstance(labels, tf.RaggedTensor):
            labels = tf.convert_to_tensor(labels)
        if labels.shape.rank is None:  # Keras generalizes over [B] and [B, 1] when it traces
            labels = tf.reshape(labels, [tf.shape(labels)[0]])
        if labels.shape.rank == 2 and labels.shape[1] == 1:
            labels = tf.squeeze(labels, 1)
        if labels.shape.rank != 1 or labels.dtype == tf.string:
            raise ValueError(
                f"Expected one label in each row for task {shown(self.name)}: {self.accepts}. "
                f"Received: shape={tuple(labels.shape)}, dtype={labels.dtype.name}. Convert them "
                "first."
            )
        if labels.dtype == tf.bool:
            labels = tf.cast(labels, tf.int32)
        present = self.present(labels)
        return tf.where(present, labels, tf.zeros_like(labels)), present

    def check(self, labels: tf.Tensor) -> None:
        """Raise an error for labels outside the task's range, within a graph when it runs.

        Raises:
            ValueError: If a label is not valid; within a graph `tf.errors.InvalidArgumentError`.
        """
        labels, present = self.read(labels)
        wrong = present & ~self.fits(labels)
        said = f"Expected labels of task {self.name!r} to be {self.accepts}. Received: "
        advice = " Correct them, or mark a missing one by NaN or by the task's `missing_label`."
        if tf.executing_eagerly():
            if bool(tf.reduce_any(wrong)):
                raise ValueError(f"{said}{tf.boolean_mask(labels, wrong)[0].numpy()}.{advice}")
            return
        bad = tf.reduce_max(tf.where(wrong, labels, tf.fill(tf.shape(labels), labels.dtype.min)))
        tf.debugging.Assert(~tf.reduce_any(wrong), [said, bad, advice])

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "weight": self.weight,
            "tower": list(self.tower),
            "label": self.label,
            "missing_label": self.missing_label,
        }

    def __repr__(self) -> str:
        """Return its kind and name: `BinaryTask('income')`."""
        return f"{type(self).__name__}({self.name!r})"
