"""Warn of regression labels on a scale that outweighs the losses of other tasks."""

import math
import warnings
from typing import Any

import keras

from moe_zoo.validation import shown

from .tasks import RegressionTask

LARGEST, LEAST = 10.0, 0.01  # of standardized labels: root mean square, deviation


class LabelScale(keras.callbacks.Callback):
    """Warns once, after the first batch that has labels, of a regression far from scale 1.

    The squared error of a label of deviation 59,004 is a billion times a cross-entropy: the tasks
    share what they learn, and none but that one learns.

    Args:
        model: a model with `labelled` and `task_metrics`, such as `TaskModel`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.waiting = [task for task in model.labelled if isinstance(task, RegressionTask)]
        self.metrics = model.task_metrics

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Check the labels so far."""
        self.waiting = [task for task in self.waiting if not self._judge(task)]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop waiting for labels."""
        self.waiting = []

    def _judge(self, task: RegressionTask) -> bool:
        """Return whether there were labels; warn of a wrong scale."""
        rows, total, squares = (float(x) for x in self.metrics[task.name][0].sums.numpy())
        if rows <= 0:
            return False
        mean = total / rows
        deviation = math.sqrt(max(squares / rows - mean**2, 0.0))
        offset = (mean - task.mean) / task.deviation
        scale = deviation / task.deviation
        if math.hypot(offset, scale) > LARGEST or 0 < scale < LEAST:
            warnings.warn(
                f"Expected labels of {task} near its mean={task.mean:g} with a deviation near "
                f"{task.deviation:g}. Received: in the first batch a mean of {mean:g} and a "
                f"deviation of {deviation:g}, so that its loss outweighs other tasks, or vanishes "
                f"next to theirs. Give RegressionTask({shown(task.name)}, mean=..., deviation=...) "
                "those of the training part; predictions stay in the label's units.",
                stacklevel=2,
            )
        return True
