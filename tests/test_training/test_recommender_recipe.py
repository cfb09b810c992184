"""What the recommender's recipe makes of its settings and of the training part."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest

from moe_zoo.experts import Experts
from moe_zoo.training.datasets.synthetic_data import synthetic_data
from moe_zoo.training.recipes.recommender.model import adapt, make_recommender, make_task
from moe_zoo.training.recipes.recommender.recipe import RecommenderRecipe
from moe_zoo.training.recipes.recommender.settings import MIXINGS, RecommenderSettings
from moe_zoo.training.runs.run import Run
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


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_precision_reaches_every_layer(mixing):
    """And no other model of the process."""
    settings = dataclasses.replace(SETTINGS, precision="mixed_bfloat16", num_experts=4)
    data = synthetic_data(dim=3, rows={"train": 40, "validation": 8, "test": 8})
    core = make_recommender(mixing, settings, *adapt(data, settings), seed=0).core
    towers = [layer for tower in core.towers.values() for layer in tower.layers]
    experts = [x for x in core.mixing._flatten_layers() if isinstance(x, Experts)]
    layers = [core, core.mixing, *towers, *experts]
    assert {layer.compute_dtype for layer in layers} == {"bfloat16"}
    assert {weight.dtype for weight in core.trainable_weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
def test_half_precision_trains(optimizer):
    settings = dataclasses.replace(SETTINGS, precision="mixed_float16", optimizer=optimizer)
    rng = np.random.default_rng(2)
    features = {"user": rng.choice(["a", "b", "c"], 64).astype(object), "x": rng.normal(size=64)}
    labels = {"click": (features["user"] == "a").astype(float)}
    parts = {part: Rows(features, labels) for part in ("train", "validation", "test")}
    kinds = {"user": {"kind": "category"}, "x": {"kind": "number"}}
    data = data_in_memory(kinds, {"click": {"kind": "binary"}}, parts, "users")
    encoder, tasks = adapt(data, settings)
    core = make_recommender("mmoe", settings, encoder, tasks, seed=0).core
    assert isinstance(core.optimizer, keras.optimizers.LossScaleOptimizer)
    features, labels = data.whole("train")
    losses = core.fit(encoder.encode_all(features), labels, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mixings": ["mmoe", "mmeo"]}, "Expected mixings out of .*Received: 'mmeo'. Did you mean"),
        ({"seeds": 0}, "at least 1. Received: seeds=0"),
    ],
)
def test_variants_that_cannot_be(options, words):
    data = synthetic_data(dim=3, rows={"train": 4, "validation": 4, "test": 4})
    with pytest.raises(ValueError, match=words):
        RecommenderRecipe(SETTINGS, data, **options)


def test_epochs_are_not_compared_without_labels(tmp_path):
    rows = np.arange(12.0)
    labels = {"click": np.where(rows < 8, rows % 2, np.nan), "price": rows}
    whole = Rows({"x": rows}, labels)
    parts = {"train": whole.take(slice(0, 8)), "validation": whole.take(slice(8, 12))}
    tasks = {"click": {"kind": "binary"}, "price": {"kind": "regression"}}
    data = data_in_memory({"x": {"kind": "number"}}, tasks, {**parts, "test": whole}, "rows")
    for weights, words in ((False, None), (True, "labels of click in the validation part")):
        recipe = RecommenderRecipe(dataclasses.replace(SETTINGS, uncertainty_weights=weights), data)
        with pytest.raises(ValueError, match=words) if words else contextlib.nullcontext():
            Run(recipe, tmp_path / str(weights), show=list, progress=False)
