"""The recommender: raw tables through `fit`, missing labels, saving, its core on a mesh."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.distribution import ExpertParallel
from moe_zoo.distribution.optimizer import apply_dense
from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender, RecommenderCore
from moe_zoo.models.recommender.tasks import BinaryTask
from small_recommender import (
    NAN,
    PAIR,
    ROWS,
    X,
    Y,
    assert_same,
    features,
    labels,
    recommender,
    small,
    table,
)


@pytest.fixture(scope="module")
def trained():
    """A recommender that was trained on raw columns, and the history."""
    keras.utils.set_random_seed(0)
    model = recommender()
    model.compile(keras.optimizers.Adam(0.02))
    data = (table(), labels())
    history = model.fit(*data, batch_size=20, epochs=8, validation_data=data, verbose=0)
    return model, history.history


# === Training ===


def test_fit_learns_and_its_logs_read_well(trained):
    _, history = trained
    names = {name for name in history if "mmoe" not in name}
    expected = {"loss", "rating_rmse"}
    for task in ("click", "both"):
        expected |= {f"{task}_{x}" for x in ("auc", "log_loss", "accuracy", "calibration")}
    assert names == expected | {f"val_{name}" for name in expected}
    assert "mmoe_click_entropy" in history
    assert history["loss"][-1] < history["loss"][0]
    assert history["click_auc"][-1] > 0.9
    assert history["val_click_calibration"][-1] == pytest.approx(1, abs=0.3)
    assert np.isfinite([values for values in history.values()]).all()


def test_outputs(trained):
    model, _ = trained
    outputs = model.predict(table(), verbose=0)
    assert {name: values.shape for name, values in outputs.items()} == dict.fromkeys(
        ["click", "buy", "both", "rating"], (ROWS,)
    )
    np.testing.assert_allclose(outputs["both"], outputs["click"] * outputs["buy"], rtol=1e-5)
    one = model.predict({name: x[:1] for name, x in table().items()}, verbose=0)
    np.testing.assert_allclose(one["click"], outputs["click"][:1], rtol=1e-5)
    unknown = model({**table(), "job title": ["astronaut"] * ROWS, "surplus": [0] * ROWS})
    assert np.isfinite(unknown["click"]).all()


def test_evaluation_is_the_metrics_of_the_whole(trained):
    model, _ = trained
    found = model.evaluate(table(), labels(), batch_size=7, verbose=0, return_dict=True)
    outputs = model.predict(table(), verbose=0)
    y, p = labels()["rating"], outputs["rating"]
    assert found["rating_rmse"] == pytest.approx(np.sqrt(np.nanmean((y - p) ** 2)), rel=1e-5)
    y, p = labels()["click"], outputs["click"]
    there = ~np.isnan(y)
    y, p = y[there], p[there].astype("float64")
    log_loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert found["click_log_loss"] == pytest.approx(log_loss, rel=1e-4)
    assert found["click_calibration"] == pytest.approx(p.sum() / y.sum(), rel=1e-5)
    assert isinstance(model.evaluate(table(), labels(), verbose=0), list)


def test_a_pipeline_and_arrays_learn_alike():
    kept = {name: features()[name] for name in ("age", "job title", "tags")}
    columns = {**table(), "tags": tf.ragged.constant(table()["tags"])}
    y = {"click": labels()["click"]}
    dataset = tf.data.Dataset.from_tensor_slices((columns, y)).batch(16)
    losses = []
    for data, options in (((table(), y), {"batch_size": 16}), ((dataset,), {})):
        keras.utils.set_random_seed(0)
        model = MultiTaskRecommender(kept, [BinaryTask("click")], SharedBottom((8,)))
        model.adapt(data[0])
        model.compile("adam")
        losses.append(model.fit(*data, shuffle=False, verbose=0, **options).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_core_on_encoded_features_is_the_model(trained):
    model, _ = trained
    encoded = model.encode(table(), batch_size=10)  # lists are padded to the longest
    assert {name: x.dtype.kind for name, x in encoded.items()} == {
        name: "f" if name == "age" else "i" for name in encoded
    }
    expected = model.predict(table(), verbose=0)
    assert_same(model.core.predict(encoded, verbose=0), expected, rtol=1e-5)
    columns = {**table(), "tags": tf.ragged.constant(table()["tags"])}
    dataset = tf.data.Dataset.from_tensor_slices((columns, labels())).batch(9)
    core = RecommenderCore.from_config(model.core.get_config())
    core.set_weights(model.core.get_weights())
    core.compile("adam")
    again = core.predict(model.encode(dataset), verbose=0)
    assert_same(again, expected, rtol=1e-4)
    (first,) = model.encode(iter([(table(), labels())]))
    np.testing.assert_array_equal(first[0]["user"], encoded["user"])


# === The sum of the losses ===


def mean_losses(model, x, y):
    """The loss of each task, from the outputs, by NumPy."""
    outputs = model(x)
    found = {}
    for name in ("click", "rating"):
        label, output = np.asarray(y[name], "float64"), outputs[name].numpy().astype("float64")
        there = ~np.isnan(label)
        label, output = label[there], output[there]
        if name == "rating":
            found[name] = np.mean((label - output) ** 2)
        else:
            found[name] = -np.mean(label * np.log(output) + (1 - label) * np.log(1 - output))
    return found


def test_loss_is_the_weighted_sum():
    model = small(PAIR)
    model.compile("sgd")
    expected = mean_losses(model, X, Y)
    found = model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(2 * expected["click"] + 0.25 * expected["rating"], rel=1e-5)
    assert model.task_weights() == {"click": 2.0, "rating": 0.25}


def test_learned_weights_against_the_equation():
    model = small(PAIR, uncertainty_weights=True)
    model.core.log_variances.assign([0.3, -0.8])
    model.compile(keras.optimizers.SGD(0.1))
    losses = mean_losses(model, X, Y)
    # Kendall et al.: e^-s L + s / 2 of classes, e^-s L / 2 + s / 2 of a regression
    click = 2.0 * (np.exp(-0.3) * losses["click"] + 0.3 / 2)
    rating = 0.25 * (np.exp(0.8) * losses["rating"] / 2 - 0.8 / 2)
    history = model.fit(X, Y, batch_size=4, verbose=0).history
    assert history["loss"] == pytest.approx([click + rating], rel=1e-5)
    slopes = [2.0 * (0.5 - np.exp(-0.3) * losses["click"])]
    slopes.append(0.25 * (0.5 - np.exp(0.8) * losses["rating"] / 2))
    expected = np.array([0.3, -0.8]) - 0.1 * np.array(slopes)
    np.testing.assert_allclose(model.core.log_variances.numpy(), expected, rtol=1e-4)
    weights = model.task_weights()
    assert weights["rating"] == pytest.approx(0.25 * 0.5 * np.exp(-expected[1]), rel=1e-4)


def test_sample_weights_of_all_tasks_or_of_each():
    model = small(PAIR)
    model.compile("sgd")
    weights = np.array([0.5, 0.25, 3.0, 1.0])
    losses = [
        model.evaluate(X, Y, sample_weight=w, verbose=0, return_dict=True)["loss"]
        for w in (weights, {"click": weights, "rating": weights})
    ]
    p = model(X)["click"].numpy().astype("float64")
    r = model(X)["rating"].numpy().astype("float64")
    click = (0.5 * -np.log(p[0]) + 0.25 * -np.log(1 - p[1]) - np.log(p[3])) / 3
    rating = (0.25 * (2 - r[1]) ** 2 + 3 * (-1 - r[2]) ** 2) / 2
    assert losses == pytest.approx([2 * click + 0.25 * rating] * 2, rel=1e-5)


def test_a_batch_without_labels_changes_nothing():
    model = small(PAIR, uncertainty_weights=True)
    model.compile(keras.optimizers.SGD(0.1))
    before = model.get_weights()
    nothing = {name: np.full(4, NAN) for name in Y}
    history = model.fit(X, nothing, verbose=0).history
    assert history["loss"] == [0.0]
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_task_on_its_own_and_its_label_without_a_dict():
    model = small([BinaryTask("click", missing_label=-1)])
    model.compile("adam")
    history = model.fit(X, np.array([1, 0, -1, 1]), verbose=0).history
    assert "click_auc" in history


def test_an_own_loss_and_metric():
    model = small(PAIR)
    model.compile("sgd", loss={"click": "mse", "rating": "mae"}, metrics={"rating": ["mae"]})
    y = {"click": [1, 0, 1, 0], "rating": [1.0, 2.0, 3.0, 4.0]}
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    outputs = model(X)
    mse = np.mean((np.array(y["click"]) - outputs["click"]) ** 2)
    mae = np.mean(np.abs(np.array(y["rating"]) - outputs["rating"]))
    assert found["loss"] == pytest.approx(mse + mae, rel=1e-5)
    assert found["rating_mae"] == pytest.approx(mae, rel=1e-5)
    assert "click_auc" in found


# === Saving, precision ===


def test_saving_keeps_everything(trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    model.core.save(tmp_path / "core.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(table(), verbose=0)
    assert_same(again.predict(table(), verbose=0), expected, rtol=0)
    core = keras.models.load_model(tmp_path / "core.keras")
    assert_same(core.predict(model.encode(table()), verbose=0), expected, rtol=1e-5)
    # the optimizer too
    assert again.optimizer.iterations.numpy() == model.optimizer.iterations.numpy()
    assert "click_auc" in again.evaluate(table(), labels(), verbose=0, return_dict=True)


def test_a_model_that_is_not_adapted_can_be_saved(tmp_path):
    model = recommender(adapted=False)
    with pytest.warns(UserWarning, match="might not contain any weights yet"):  # Keras' own
        model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    again.adapt(table())
    assert again.predict(table(), verbose=0)["click"].shape == (ROWS,)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    kept = {name: features()[name] for name in ("age", "user", "tags")}
    mixing = SharedBottom((8,))
    model = MultiTaskRecommender(kept, PAIR, mixing, uncertainty_weights=True)
    model.adapt(table())
    assert model.core.embeddings["user"].compute_dtype == policy.removeprefix("mixed_")
    model.compile("adam")
    columns = {**table(), "age": table()["age"] * 1e5}  # too large for float16, even normalised
    history = model.fit(columns, labels(), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert {x.dtype.name for x in model.predict(table(), verbose=0).values()} == {"float32"}


# === On a mesh ===


@pytest.mark.slow
def test_core_on_a_mesh_with_sharded_experts_and_tables():
    def history(distribute):
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = recommender(uncertainty_weights=True)
        encoded, core = model.encode(table()), model.core
        core.compile(keras.optimizers.Adam(0.01))
        core.optimizer.apply = functools.partial(apply_dense, core.optimizer)
        if distribute:
            mesh = ExpertParallel("expert=2", rules={r"user_embedding/embeddings": ("expert",)})
            mesh.distribute(core)
            layouts = {x.variable.path: x.parts for x in mesh.layouts(core)}
            spread = {path for path, parts in layouts.items() if parts == 2}
            assert "core/user_embedding/embeddings" in spread
            assert any("mlp_experts" in path for path in spread)
        return core.fit(
            encoded, labels(), batch_size=16, epochs=2, shuffle=False, verbose=0
        ).history

    alone, together = history(False), history(True)
    assert_same(together, alone, rtol=1e-4, atol=1e-5)
    assert alone["loss"][1] < alone["loss"][0] - 1e-3
