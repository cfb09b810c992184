"""RoutingCallback: event files hold what is counted by hand, logs hold the task loss."""

import json

import keras
import numpy as np
import pytest

from known_routing import (
    BATCH,
    BATCHES,
    EXPERTS,
    LENGTH,
    TARGET,
    assert_written,
    build_model,
    counted,
    fit,
    make_data,
    make_ids,
)
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SoftmaxRouter, SwitchRouter
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutingCallback
from routing_events import read


@pytest.fixture(scope="module")
def ids():
    return make_ids()


@pytest.fixture(scope="module")
def data(ids):
    return make_data(ids)


@pytest.mark.parametrize(
    ("policy", "jit_compile", "steps_per_execution", "stops"),
    [
        ("float32", False, 1, [3, 6, 9, 11]),
        pytest.param("float32", True, 1, [3, 6, 9, 11], marks=pytest.mark.slow),
        pytest.param("mixed_float16", True, 1, [3, 6, 9, 11], marks=pytest.mark.slow),
        ("mixed_bfloat16", False, 2, [4, 8, 11]),  # every 3 batches, seen 2 at a time
    ],
)
def test_files_hold_what_was_counted(
    policy, jit_compile, steps_per_execution, stops, ids, data, tmp_path
):
    keras.config.set_dtype_policy(policy)
    model = build_model(jit_compile, steps_per_execution)
    callback = RoutingCallback(tmp_path, every=3)
    fit(model, data, [callback], epochs=2, validation_data=data)

    two_epochs = np.concatenate([ids, ids])
    assert_written(tmp_path / "train", two_epochs, stops + [BATCHES + stop for stop in stops])
    # Two evaluations, each of all batches, when 11 and 22 steps were done.
    whole = [BATCHES, 2 * BATCHES]
    assert_written(tmp_path / "validation", two_epochs, whole, losses=False)
    # The dead expert, the drops and the unequal windows are really there.
    assert counted(ids[:3], "same")["dead_experts"] == 1
    assert counted(ids[3:6], "same")["dropped_fraction"] > 0.1

    for layer, stats in routing_stats(model).items():  # undisturbed: the sum of both epochs
        np.testing.assert_array_equal(stats.load, counted(two_epochs, layer)["load"])
        assert stats.steps == 2 * BATCHES


def test_task_loss_is_in_the_logs_that_others_read(ids, data, tmp_path):
    class Batches(keras.callbacks.Callback):
        seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append((logs["loss"], logs["task_loss"]))

    csv = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    callbacks = [RoutingCallback(), Batches(), csv, board]
    history = fit(build_model(), data, callbacks, validation_data=data)

    balance = sum(counted(ids, layer)["balance_loss"] for layer in ("same", "next"))
    assert history["task_loss"] == pytest.approx([TARGET**2], rel=1e-5)
    assert history["loss"] == pytest.approx([TARGET**2 + balance], rel=1e-5)
    assert history["val_loss"] == pytest.approx([TARGET**2], rel=1e-5)
    assert "val_task_loss" not in history
    assert len(Batches.seen) == BATCHES
    assert all(task == pytest.approx(TARGET**2, rel=1e-5) for _, task in Batches.seen)
    header, row = (tmp_path / "log.csv").read_text().splitlines()
    assert float(row.split(",")[header.split(",").index("task_loss")]) == history["task_loss"][0]
    values, _ = read(tmp_path / "train")
    assert values["epoch_task_loss"][0][1] == pytest.approx(TARGET**2, rel=1e-5)
    assert not any(tag.startswith(("same/", "next/")) for tag in values)  # log_dir=None


def test_the_progress_bar_shows_the_task_loss(data, capfd):
    build_model().fit(*data, batch_size=BATCH, verbose=2, callbacks=[RoutingCallback()])
    assert f"task_loss: {TARGET**2:.4f}" in capfd.readouterr().out


def test_task_loss_of_a_router_without_losses(data):
    inputs = keras.Input((LENGTH, EXPERTS))
    mixture = MoE(SoftmaxRouter(), FeedForwardExperts(EXPERTS, hidden_dim=13))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(mixture))
    model.compile("sgd", "mse")
    history = fit(model, data, [RoutingCallback()])
    assert history["task_loss"] == history["loss"]


@pytest.mark.parametrize("routing_first", [True, False])
def test_beside_the_tensorboard_callback_of_keras(routing_first, ids, data, tmp_path):
    callbacks = [RoutingCallback(tmp_path, every=3)]
    # Keras lets only every 7th batch through to tf.summary.
    board = keras.callbacks.TensorBoard(tmp_path, update_freq=7, write_graph=False)
    callbacks.insert(1 if routing_first else 0, board)
    fit(build_model(), data, callbacks, validation_data=data)
    assert_written(tmp_path / "train", ids, [3, 6, 9, 11])
    assert_written(tmp_path / "validation", ids, [11], losses=False)
    values, _ = read(tmp_path / "train")
    assert [step for step, _ in values["batch_loss"]] == [7]  # one run holds both


def test_steps_go_on_in_a_second_fit_and_after_loading(ids, data, tmp_path):
    model = build_model()
    callback = RoutingCallback(tmp_path / "first", every=100)
    fit(model, data, [callback])
    model.train_on_batch(data[0][:BATCH], data[1][:BATCH])  # seen by no callback: step 12
    fit(model, data, [callback])
    values, _ = read(tmp_path / "first" / "train")
    assert [step for step, _ in values["same/load"]] == [11, 23]
    for _, load in values["same/load"]:
        np.testing.assert_array_equal(load, counted(ids, "same")["load"])

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded, data, [RoutingCallback(tmp_path / "second", every=6)])
    assert_written(tmp_path / "second" / "train", ids, [6, 11], first_step=23)


def test_statistics_that_a_user_resets_in_between(ids, data, tmp_path):
    class Reset(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                routing_stats(self.model, reset=True)

    model = build_model()
    fit(model, data, [RoutingCallback(tmp_path, every=3), Reset()])
    values, _ = read(tmp_path / "train")
    loads = [load for _, load in values["same/load"]]
    # Of batches 3 to 5 only the one after the reset is left. From then on as before.
    for load, start, stop in zip(loads, [0, 5, 6, 9], [3, 6, 9, 11], strict=True):
        np.testing.assert_array_equal(load, counted(ids[start:stop], "same")["load"])
    np.testing.assert_array_equal(
        routing_stats(model)["same"].load, counted(ids[5:], "same")["load"]
    )


def test_evaluate_alone_writes_that_evaluation(ids, data, tmp_path):
    model = build_model()
    x, y = data
    for stop in (2, 11):
        callback = RoutingCallback(tmp_path / str(stop))
        model.evaluate(x[: stop * BATCH], y[: stop * BATCH], BATCH, 0, callbacks=[callback])
        model.predict(x, BATCH, verbose=0)  # counts for no evaluation
        assert not (tmp_path / str(stop) / "train").exists()
        values, _ = read(tmp_path / str(stop) / "validation")
        ((step, load),) = values["next/load"]
        assert step == 0  # of training
        np.testing.assert_array_equal(load, counted(ids[:stop], "next")["load"])


def test_tags_carry_what_a_plugin_needs(data, tmp_path):
    fit(build_model(), data, [RoutingCallback(tmp_path)])
    _, metadata = read(tmp_path / "train")
    for name in ("load", "demand", "importance", "gate_mean", "balance", "health"):
        for index, layer in enumerate(("same", "next")):
            plugin = metadata[f"{layer}/{name}"].plugin_data
            assert plugin.plugin_name == "moe_routing"
            assert json.loads(plugin.content) == {
                "version": 1,
                "layer": layer,
                "kind": name,
                "index": index,
                "group": None,
                "task": None,
            }
            assert metadata[f"{layer}/{name}"].data_class == 2  # DATA_CLASS_TENSOR
    assert metadata["same/expert_load"].plugin_data.plugin_name == "histograms"
    assert metadata["same/load_cv"].plugin_data.plugin_name == "scalars"


def test_pairs_are_those_that_tokens_ask_for_at_once(tmp_path):
    """A token is 3, 2 and 1 times the vectors of its first, second and third choice."""
    rng = np.random.default_rng(0)
    asked = np.array([rng.permutation(5)[:3] for _ in range(4 * 13)])  # [tokens, choices]
    x = (np.eye(5)[asked] * [[[3], [2], [1]]]).sum(1).reshape(4, 13, 5)
    x[3, 11:] = 0.0  # masked: asks for none
    inputs = keras.Input((13, 5))
    router = SwitchRouter(3, capacity_factor=0.5, jitter=0.0)  # drops many: asked is asked
    masked = keras.layers.Masking()(inputs)
    mixture = MoE(router, FeedForwardExperts(5, hidden_dim=3), name="triple")
    model = keras.Model(inputs, mixture(masked))
    router.kernel.assign(np.eye(5))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    options = {"batch_size": 2, "shuffle": False, "verbose": 0}
    callback = RoutingCallback(tmp_path, every=1)
    model.fit(x, x, epochs=2, validation_data=(x[:2], x[:2]), callbacks=[callback], **options)

    def count(rows):
        expected = np.zeros((5, 5))
        for choices in asked[: rows * 13]:
            for i in choices:
                for j in choices:
                    expected[i, j] += i != j
        return expected

    everything = count(4)
    for choices in asked[-2:]:
        for i in choices:
            for j in choices:
                everything[i, j] -= i != j
    written, _ = read(tmp_path / "train")
    assert [step for step, _ in written["triple/pairs"]] == [2, 4]  # ends of epochs
    for _, pairs in written["triple/pairs"]:
        np.testing.assert_array_equal(pairs, everything)
    assert [step for step, _ in written["triple/load"]] == [1, 2, 3, 4]
    written, _ = read(tmp_path / "validation")
    for _, pairs in written["triple/pairs"]:
        np.testing.assert_array_equal(pairs, count(2))
    np.testing.assert_array_equal(routing_stats(model)["triple"].pairs, 2 * everything)
