"""Keras' `fit`, `evaluate` and `predict` of tables in memory and of batches."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from moe_zoo.models.some_batches import SomeBatches, with_callback

from .batches import is_batches
from .label_scale import LabelScale
from .task_data import TaskData


class TableCalls(SomeBatches):
    """Part of a Keras model of several tasks whose calls read tables and batches.

    This is no `keras.Model`; see `SomeBatches`.
    """

    _data: TaskData
    undefined_metrics: Any  # of `TaskModel`
    _flatten_metrics_in_order: Any  # of Keras

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Train as Keras does, on a table and its labels, or on batches of such pairs.

        Args:
            x: `dict` of columns, a frame of pandas, or batches `(x, y)` or `(x, y, sample_weight)`:
                a `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator or another iterable.
            y: `dict` or frame of labels by task; those of a single task on their own.
            batch_size: `int`.
            epochs: `int`.
            verbose: See Keras.
            callbacks: list of Keras callbacks.
            validation_split: `float`, share of the rows of a table to validate on.
            validation_data: `(x, y)` or `(x, y, sample_weight)`, or batches.
            shuffle: `bool`, whether rows of a table, or batches of a `PyDataset`, are shuffled.
            class_weight: `dict` of weight by class, of a single task.
            sample_weight: weights of the rows, or `dict` or frame of these by task, 1 for others.
            **kwargs: `initial_epoch`, `steps_per_epoch`, `validation_steps`,
                `validation_batch_size`, `validation_freq`.

        Warns:
            UserWarning: labels of a regression far from 0 or of another scale than 1; see
                `RegressionTask`.
        """
        if isinstance(validation_data, tuple | list):
            validation_data = self._data.read(*validation_data)
        elif validation_data is not None:
            validation_data = self._data.read(validation_data)[0]
        scale = LabelScale(self)
        if scale.waiting:
            callbacks = with_callback(callbacks, scale)
        once = is_batches(x) and not isinstance(x, keras.utils.PyDataset)
        x, y, sample_weight = self._data.read(x, y, sample_weight, class_weight)
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle and not once,  # Keras warns that it leaves the order as it is
            sample_weight=sample_weight,
            **kwargs,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Evaluate as Keras does; an undefined metric is left out of the `dict`, with a warning.

        Args:
            x: As in `fit`, as are `y` and `sample_weight`.
            y: See there.
            batch_size: `int`.
            verbose: See Keras.
            sample_weight: See there.
            steps: `int`, batches to read.
            callbacks: list of Keras callbacks.
            return_dict: `bool`, whether to return a `dict` in place of a list.
            **kwargs: Keras' own, for the validation within `fit`.

        Warns:
            UserWarning: a task none of whose rows has a label, or an AUC of one class only.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = self._data.read(x, y, sample_weight)
        logs = super().evaluate(
            x,
            y,
            batch_size=batch_size,
            verbose=verbose,
            sample_weight=sample_weight,
            steps=steps,
            callbacks=callbacks,
            return_dict=True,
            **kwargs,
        )
        undefined = self.undefined_metrics()
        if undefined:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in undefined.items())
            warnings.warn(
                "Expected labels from which every metric can be computed. Received, of all rows "
                f"together: {reasons}. These are left out of the dict that return_dict=True gives.",
                stacklevel=2,
            )
        if return_dict:
            return {name: value for name, value in logs.items() if name not in undefined}
        return self._flatten_metrics_in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> dict[str, np.ndarray]:
        """Predict as Keras does: a `dict` of arrays by task.

        Args:
            x: As in `fit`; labels within batches are left out.
            batch_size: `int`.
            verbose: See Keras.
            steps: `int`, batches to read.
            callbacks: list of Keras callbacks.
        """
        x, _, _ = self._data.read(x, labelled=False)
        return super().predict(x, batch_size, verbose, steps, callbacks)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Train as Keras does, on one table and its labels."""
        parts = self._data.read(x, y, sample_weight, class_weight)
        return super().train_on_batch(*parts, return_dict=return_dict)  # type: ignore[misc]

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluate as Keras does, on one table and its labels."""
        parts = self._data.read(x, y, sample_weight)
        return super().test_on_batch(*parts, return_dict=return_dict)  # type: ignore[misc]

    def predict_on_batch(self, x: Any) -> dict[str, np.ndarray]:
        """Predict as Keras does, on one table."""
        x, _, _ = self._data.read(x, labelled=False)
        return super().predict_on_batch(x)  # type: ignore[misc]
