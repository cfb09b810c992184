"""The tasks of a model, checked against each other, the mixing and the features."""

from collections.abc import Collection, Iterable
from typing import Any

from moe_zoo.layers.task_mixing import TaskMixing
from moe_zoo.models.recommender.tasks.binary import Probability
from moe_zoo.validation import shown

from .tasks import ProductTask, Task


def check_tasks(tasks: Any, mixing: TaskMixing, features: Collection[str]) -> list[Task]:
    """Return the tasks of a model as a list.

    Args:
        tasks: What the user gave.
        mixing: The mixing of the model.
        features: Names of the features.

    Raises:
        ValueError: If the tasks do not fit together, or the mixing or the features do not fit them.
    """
    if isinstance(tasks, str | Task) or not hasattr(tasks, "__iter__"):
        raise ValueError(
            f"Expected a list of tasks. Received: tasks={shown(tasks)}. Put a single one into a "
            "list, such as [BinaryTask('click')]."
        )
    tasks = list(tasks)
    for task in tasks:
        if not isinstance(task, Task):
            raise ValueError(
                "Expected tasks such as BinaryTask('click'). Received: "
                f"{shown(task)}. Describe what is to be predicted by one."
            )
    names = [task.name for task in tasks]
    if not any(task.label for task in tasks):
        raise ValueError(
            f"Expected at least one task with a label. Received: tasks={shown(tasks)}. Without one "
            "nothing can be learned."
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"Expected tasks of different names. Received: {shown(name)} twice. Rename one."
            )
    for task in tasks:
        if task.label and task.name in features:
            raise ValueError(
                f"Expected labels that are no features. Received: {shown(task.name)} as both, so "
                "that the model would see what it has to predict. Take it out of the features, or "
                "rename it."
            )
    _check_products(tasks)
    trained = trained_tasks(tasks)
    if not isinstance(mixing, TaskMixing):
        raise ValueError(
            "Expected a mixing such as MMoE(MLPExperts(4, (16,))). Received: "
            f"mixing={shown(mixing)}. Give a layer of moe_zoo.layers for several tasks."
        )
    if mixing.num_tasks not in (None, len(trained)):
        raise ValueError(
            f"Expected a mixing for {len(trained)} tasks, which have a tower: "
            f"{', '.join(task.name for task in trained)}. Received: mixing.num_tasks="
            f"{mixing.num_tasks}. Leave num_tasks out: the mixing learns it from the tasks. "
            "Products have no tower and are not counted."
        )
    return tasks


def trained_tasks(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that have a tower: all but products."""
    return [task for task in tasks if not isinstance(task, ProductTask)]


def _check_products(tasks: list[Task]) -> None:
    before: dict[str, Task] = {}
    for task in [*trained_tasks(tasks), *tasks]:
        if isinstance(task, ProductTask):
            for name in task.of:
                if not isinstance(before.get(name), Probability):
                    raise ValueError(
                        "Expected a product of binary tasks of the model. Received: "
                        f"{shown(task.name)} of={shown(task.of)}, where {shown(name)} is "
                        f"{shown(before.get(name, 'none before it'))}. Give names of binary tasks, "
                        "or of products that stand before it."
                    )
        before[task.name] = task
