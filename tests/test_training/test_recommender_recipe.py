"""What the recommender's recipe takes from the training part for its tasks."""

import numpy as np
import pytest

from moe_zoo.training.recipes.recommender.recipe import adapt, make_recommender, make_task
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.tables.recommender_data import RecommenderData, data_in_memory
from moe_zoo.training.tables.rows import Rows

SETTINGS = RecommenderSettings(num_experts=2, expert_units="5", tower_units="3", learning_rate=0.02)
REGRESSION = {"kind": "regression", "weight": 0.5}


def adapted(labels, task=REGRESSION, size=3):
    """The task after pieces of the training part; other parts have labels of another scale."""
    rows = Rows({"x": np.arange(float(len(labels)))}, {"price": np.array(labels, "float32")})
    pieces = [rows.take(slice(i, i + size)) for i in range(0, len(labels), size)]
    parts = [
        *(("train", piece) for piece in pieces),
        ("test", rows._replace(labels={"price": np.full(len(labels), 1e9)})),
    ]
    data = RecommenderData(
        {"x": {"kind": "number"}},
        {"price": task},
        lambda wanted: ((part, piece) for part, piece in parts if part in wanted),
        "pieces",
    )
    return adapt(data, SETTINGS)[1]["price"]


def test_labels_are_standardized_by_the_training_part():
    labels = np.random.default_rng(0).normal(180_000, 59_004, 17).astype("float32")
    labels[[2, 3, 4, 5]] = np.nan  # a piece without any label among them
    task = adapted(labels)
    assert task["mean"] == pytest.approx(np.nanmean(labels.astype("float64")))
    assert task["deviation"] == pytest.approx(np.nanstd(labels.astype("float64")))
    assert task["weight"] == 0.5 and make_task("price", task, (3,)).deviation == task["deviation"]


def test_constant_labels_and_those_left_raw():
    assert adapted([7.0] * 5) == REGRESSION | {"mean": 7.0, "deviation": 1.0}
    assert adapted([0.0, np.nan]) == REGRESSION | {"mean": 0.0, "deviation": 1.0}
    assert adapted([1.0, 3.0], REGRESSION | {"standardize": False}) == REGRESSION
    with pytest.raises(ValueError, match="labels of every task.*Received: none of price"):
        adapted([np.nan] * 4)


def test_a_raw_scale_beside_a_binary_task():
    """Units change nothing but the predictions': both tasks learn as they do from unit labels."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=600)
    features = {"x": x}
    unit = x + 0.1 * rng.normal(size=600)
    losses, errors = [], []
    for scale, shift in ((1.0, 0.0), (59_004.0, 180_000.0)):
        labels = {"click": (x > 0).astype(float), "price": shift + scale * unit}
        parts = {part: Rows(features, labels) for part in ("train", "validation", "test")}
        tasks = {"click": {"kind": "binary"}, "price": {"kind": "regression"}}
        data = data_in_memory({"x": {"kind": "number"}}, tasks, parts, "x")
        encoder, tasks = adapt(data, SETTINGS)
        core = make_recommender("mmoe", SETTINGS, encoder, tasks, seed=0).core
        features, labels = data.whole("train")
        history = core.fit(encoder.encode_all(features), labels, batch_size=60, epochs=3, verbose=0)
        losses.append(history.history["loss"])
        errors.append(history.history["price_rmse"][-1] / scale)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-3)
    assert errors[1] < 0.5 * unit.std()
