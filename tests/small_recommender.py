"""A small recommender of every kind of column, for its tests."""

import numpy as np

from moe_zoo.experts import MLPExperts
from moe_zoo.layers import MMoE, SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Buckets, Category, Hashed, ListOf, Number
from moe_zoo.models.recommender.tasks import BinaryTask, ProductTask, RegressionTask

NAN = float("nan")
ROWS = 64
X = {"x": np.array([1.0, -2.0, 0.5, NAN])}
Y = {"click": np.array([1.0, 0.0, NAN, 1.0]), "rating": np.array([NAN, 2.0, -1.0, NAN])}
PAIR = [BinaryTask("click", weight=2.0), RegressionTask("rating", weight=0.25)]


def table():
    rng = np.random.default_rng(0)
    jobs = rng.choice(["cook", "pilot", "clerk"], ROWS)
    return {
        "age": np.where(rng.uniform(size=ROWS) < 0.1, NAN, rng.normal(40, 9, ROWS)),
        "hours": rng.integers(0, 60, ROWS),
        "job title": jobs,
        "user": rng.integers(2**60, 2**60 + 9, ROWS),
        "tags": [list(jobs[: i % 3]) for i in range(ROWS)],
    }


def labels():
    rng = np.random.default_rng(1)
    click = (table()["hours"] > 30).astype("float64")
    both = click * rng.integers(0, 2, ROWS)
    rating = np.where(np.arange(ROWS) % 3 == 0, NAN, click + rng.normal(0, 0.1, ROWS))
    click[::5] = NAN
    return {"click": click, "both": both.astype("int64"), "rating": rating}


def features():
    return {
        "age": Number(),
        "hours": Buckets(4, embedding_dim=3),
        "job title": Category(embedding_dim=3),
        "user": Hashed(14, embedding_dim=5),
        "tags": ListOf(Category(embedding_dim=3)),
    }


def tasks():
    return [
        BinaryTask("click"),
        BinaryTask("buy", label=False),
        ProductTask("both", of=("click", "buy")),
        RegressionTask("rating", weight=0.5),
    ]


def recommender(mixing=None, adapted=True, **kwargs):
    mixing = mixing or MMoE(MLPExperts(4, (8,)))
    model = MultiTaskRecommender(features(), tasks(), mixing, **kwargs)
    if adapted:
        model.adapt(table())
    return model


def small(task_list, **kwargs):
    """One number, one bottom."""
    features = {"x": Number(mean=0.0, variance=1.0)}
    return MultiTaskRecommender(features, task_list, SharedBottom((4,)), **kwargs)


def assert_same(found, expected, **tolerance):
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)
