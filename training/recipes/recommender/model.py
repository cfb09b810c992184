"""Adapt features and tasks to a table, and make the recommender of the settings."""

from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np

from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Feature, FeatureEncoder, Number, make_feature
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, RegressionTask, Task
from moe_zoo.training.optim.lazy_adam import LazyAdam
from moe_zoo.training.tables.recommender_data import RecommenderData
from moe_zoo.training.tables.rows import Columns

from .mixings import make_mixing
from .settings import RecommenderSettings, units


def adapt(
    data: RecommenderData, settings: RecommenderSettings
) -> tuple[FeatureEncoder, dict[str, dict]]:
    """Adapt features and tasks to the training part, in one pass over it.

    Args:
        data: Features, tasks and rows.
        settings: Settings of the recipe.

    Returns:
        The adapted encoder, and the tasks as plain data. Regression tasks have the `mean` and
        `deviation` of their labels, unless they have `standardize=False`.

    Raises:
        ValueError: If a column has no value there, or a task no label.
    """
    features = {
        name: make_feature(description, settings.embedding_dim)
        for name, description in data.features.items()
    }
    encoder = FeatureEncoder(features)
    labels: dict[str, Number] = {}  # their moments

    def columns() -> Iterator[Columns]:
        for rows in data.stream("train"):
            for name, values in rows.labels.items():
                known = values[np.isfinite(values)]
                if len(known):
                    labels.setdefault(name, Number()).observe(known)
            yield rows.features

    encoder.adapt(columns())
    if missing := [name for name in data.tasks if name not in labels]:
        raise ValueError(
            f"Expected labels of every task in the training part. Received: none of "
            f"{', '.join(missing)}. Leave the task out, or look at its column."
        )
    return encoder, {name: _adapted(task, labels[name]) for name, task in data.tasks.items()}


def _adapted(task: dict, moments: Number) -> dict:
    """Add the mean and deviation of its labels to a task that is standardized."""
    task = dict(task)
    if task["kind"] == "regression" and task.pop("standardize", True):
        moments.finish()
        task |= {"mean": moments.mean, "deviation": moments.deviation}
    return task


def make_task(name: str, description: dict, tower: Sequence[int]) -> Task:
    """Make a task from its plain data, such as `{"kind": "binary", "weight": 0.5}`.

    Args:
        name: Name of the task.
        description: Kind and arguments, as `adapt` returns them.
        tower: Units of each layer of its tower.
    """
    options = dict(description)
    kind = options.pop("kind")
    if kind == "classes":
        return ClassTask(name, len(options.pop("classes")), tower=tower, **options)
    return {"binary": BinaryTask, "regression": RegressionTask}[kind](name, tower=tower, **options)


def make_recommender(
    mixing: str,
    settings: RecommenderSettings,
    encoder: FeatureEncoder,
    tasks: dict[str, dict],
    seed: int,
) -> MultiTaskRecommender:
    """Make a recommender whose core is compiled.

    Args:
        mixing: One of `MIXINGS`.
        settings: Settings of the recipe.
        encoder: Adapted encoder.
        tasks: Tasks as plain data, by name, as `adapt` returns them.
        seed: Seed of weights and of random numbers in training.
    """
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    tower = units("tower_units", settings.tower_units)
    made = [make_task(name, description, tower) for name, description in tasks.items()]
    layer = make_mixing(mixing, settings, len(made), row_width(encoder.features.values()))
    model = MultiTaskRecommender(
        encoder.features,
        made,
        layer,
        settings.uncertainty_weights,
        settings.unseen_rate,
        dtype=settings.precision,
        name=mixing,
    )
    optimizer = {"adam": keras.optimizers.Adam, "lazy_adam": LazyAdam}[settings.optimizer]
    model.core.compile(optimizer(settings.learning_rate))
    model.core.optimizer.build(model.core.trainable_variables)
    return model


def row_width(features: Iterable[Feature]) -> int:
    """Add up the widths of features to the width of a row, D."""
    values = (getattr(feature, "feature", feature) for feature in features)
    return sum(getattr(feature, "embedding_dim", 1) for feature in values)
