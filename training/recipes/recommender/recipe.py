"""The recipe of a multi-task recommender: features, tasks, mixing and optimizer from settings."""

import keras
import numpy as np

from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import FeatureEncoder, Number, make_feature
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, RegressionTask
from moe_zoo.training.optim.lazy_adam import LazyAdam

from .mixings import make_mixing
from .settings import units


def adapt(data, settings):
    """Features and tasks as the training part alone says, in one pass over it.

    Args:
        data: `RecommenderData`.
        settings: `RecommenderSettings`.

    Returns:
        A `FeatureEncoder`, and the tasks as plain data: those of a regression, unless they have
        `standardize=False`, with the `mean` and `deviation` of their labels.

    Raises:
        ValueError: a column without a value there, or a task without a label.
    """
    features = {
        name: make_feature(description, settings.embedding_dim)
        for name, description in data.features.items()
    }
    encoder = FeatureEncoder(features)
    labels: dict[str, Number] = {}  # their moments

    def columns():
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


def _adapted(task, moments):
    """A task as plain data with the mean and deviation of its labels, if it is standardized."""
    task = dict(task)
    if task["kind"] == "regression" and task.pop("standardize", True):
        moments.finish()
        task |= {"mean": moments.mean, "deviation": moments.deviation}
    return task


def make_task(name, description, tower):
    """A `Task` from its plain data as `adapt` gives it, `{"kind": "binary", "weight": 0.5}`.

    Args:
        name: `str`.
        description: `dict`.
        tower: units of each layer of its tower.
    """
    options = dict(description)
    kind = options.pop("kind")
    if kind == "classes":
        return ClassTask(name, len(options.pop("classes")), tower=tower, **options)
    return {"binary": BinaryTask, "regression": RegressionTask}[kind](name, tower=tower, **options)


def make_recommender(mixing, settings, encoder, tasks, seed):
    """A new `MultiTaskRecommender` whose core is compiled.

    Args:
        mixing: one of `MIXINGS`.
        settings: `RecommenderSettings`.
        encoder: adapted `FeatureEncoder`.
        tasks: `dict` of plain data by name, as `adapt` gives it.
        seed: `int`, of weights and of what is drawn in training.
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
        name=mixing,
    )
    optimizer = {"adam": keras.optimizers.Adam, "lazy_adam": LazyAdam}[settings.optimizer]
    model.core.compile(optimizer(settings.learning_rate))
    model.core.optimizer.build(model.core.trainable_variables)
    return model


def row_width(features):
    """D, the width of a row of these features side by side."""
    values = (getattr(feature, "feature", feature) for feature in features)
    return sum(getattr(feature, "embedding_dim", 1) for feature in values)
