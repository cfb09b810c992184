"""Arguments of `compile` for several tasks, checked and by task."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras

from moe_zoo.models.recommender.tasks.binary import Probability
from moe_zoo.models.recommender.tasks.metrics import TaskMetric
from moe_zoo.validation import check_names, shown

from .tasks import ClassTask, Task


def weights_by_task(weights: Any, tasks: Sequence[Task]) -> dict[str, float]:
    """Return the weights of the tasks' losses: `dict` of `float` by task, 1 by default.

    Args:
        weights: `None`, a `dict` by task, a list in the order of the tasks, or, of a single task, a
            number.
        tasks: list of `Task` with labels.

    Raises:
        ValueError: If a name is not a task with a label, the number of weights is not that of the
            tasks, or a weight is not a number of at least 0.
    """
    given = _by_task("loss_weights", weights, tasks)
    for name, weight in given.items():
        number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not number or not 0 <= float(weight) < math.inf:
            raise ValueError(
                f"Expected a finite number of at least 0. Received: loss_weights={shown(weight)} "
                f"for task {shown(name)}. 0 leaves its loss out."
            )
    return {task.name: float(given.get(task.name, 1.0)) for task in tasks}


def losses_by_task(loss: Any, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the losses in place of the tasks' own: `dict` by task, without those that are `None`.

    Args:
        loss: a `dict` by task, a list in the order of the tasks, or one loss for all of them.
        tasks: list of `Task` with labels.

    Raises:
        ValueError: If a name is not a task with a label, a task has no loss, or all losses are
            `None`.
    """
    if not isinstance(loss, dict | list | tuple):
        loss = dict.fromkeys((task.name for task in tasks), loss)
    given = _by_task("loss", loss, tasks)
    waiting = [task.name for task in tasks if task.name not in given]
    chosen = {name: value for name, value in given.items() if value is not None}
    if waiting or not chosen:
        raise ValueError(
            f"Expected a loss for each task with a label. Received: loss={shown(loss)}, without "
            f"one for {', '.join(map(repr, waiting)) or 'any'}. Give None for a task that is not "
            "to be trained, or no loss at all for the tasks' own."
        )
    return chosen


def metrics_by_task(what: str, metrics: Any, tasks: Sequence[Task]) -> dict[str, list[TaskMetric]]:
    """Return metrics in addition to the tasks' own: `dict` of lists of `TaskMetric` by task.

    Args:
        what: `"metrics"` or `"weighted_metrics"`.
        metrics: `None`, a `dict` by task, a list in the order of the tasks, or, of a single task,
            its metrics. Those of a task are a metric or a list of them.
        tasks: list of `Task` with labels.

    Raises:
        ValueError: If a name is not a task with a label, the number of entries is not that of the
            tasks, a metric is unknown, or one metric object is given twice.
    """
    if len(tasks) == 1 and metrics is not None and not isinstance(metrics, dict):
        metrics = {tasks[0].name: metrics}
    by_task: dict[str, list[TaskMetric]] = {}
    seen: set[int] = set()
    for name, chosen in _by_task(what, metrics, tasks).items():
        task = next(task for task in tasks if task.name == name)
        chosen = chosen if isinstance(chosen, list | tuple) else [chosen]
        taken = {metric.name for metric in task.metrics()}
        for identifier in (x for x in chosen if x is not None):
            if isinstance(identifier, keras.metrics.Metric) and id(identifier) in seen:
                raise ValueError(
                    f"Expected a metric object of its own for each task. Received: {what} with "
                    f"{shown(identifier.name)} twice, which would add up the rows of both. Make "
                    "two."
                )
            seen.add(id(identifier))
            metric = _metric(task, identifier)
            title, i = metric.name, 1
            while title in taken:  # Keras numbers equal names too
                title, i = f"{metric.name}_{i}", i + 1
            taken.add(title)
            by_task.setdefault(name, []).append(TaskMetric(task, metric, title))
    return by_task


def _metric(task: Task, identifier: Any) -> keras.metrics.Metric:
    """Return a Keras metric from its identifier; "accuracy" is that of the task's kind."""
    if isinstance(identifier, keras.metrics.Metric):
        return identifier
    kinds: dict[type[Task], type] = {
        Probability: keras.metrics.BinaryAccuracy,
        ClassTask: keras.metrics.SparseCategoricalAccuracy,
    }
    if identifier in ("accuracy", "acc"):
        for kind, accuracy in kinds.items():
            if isinstance(task, kind):
                return accuracy(name=identifier)
        raise ValueError(
            f"Expected a metric of a number. Received: {shown(identifier)} for {task}. "
            "Its rmse is there; 'mae' is another."
        )
    metric = keras.metrics.get(identifier)
    if not isinstance(metric, keras.metrics.Metric):
        name = getattr(metric, "__name__", "metric")
        metric = keras.metrics.MeanMetricWrapper(metric, name=name)
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


def _by_task(what: str, values: Any, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the values for each task: `dict` by name."""
    names = [task.name for task in tasks]
    if values is None:
        return {}
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, dict):
        check_names(values, names, f"{what} of tasks with labels")
        return dict(values)
    if not isinstance(values, list | tuple):
        values = [values]
    if len(values) != len(names):
        raise ValueError(
            f"Expected {what} for {len(names)} tasks, {', '.join(names)}. Received: "
            f"{what}={shown(values)}. Give a dict by task."
        )
    return dict(zip(names, values, strict=True))
