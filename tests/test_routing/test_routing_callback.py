"""RoutingCallback: event files hold what is counted by hand, logs hold the task loss."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.gates import NoisyTopKGate
from moe_zoo.layers import MMoE, MoE
from moe_zoo.routers import SoftmaxRouter, SwitchRouter
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutingBounds, RoutingCallback
from routing_events import read

# A batch is one group of 5 x 7 tokens. A token is 2 * one_hot(i). The gate matrix of the layer
# "same" is the identity, so the token goes to expert i with probability e^2 / (e^2 + 2); the layer
# "next" sends it to i + 1. Nothing is trained: the learning rate is zero.
EXPERTS, BATCH, LENGTH, BATCHES = 3, 5, 7, 11
TOKENS = BATCH * LENGTH
WEIGHT = 0.25  # of the balance loss
CAPACITY = 15  # ceil(1.25 * 35 / 3 = 14.6), in training and, by the same factor, in evaluation
CHOSEN = math.exp(2) / (math.exp(2) + 2)
OTHER = 1 / (math.exp(2) + 2)
TARGET = 0.5  # the outputs are zero, so the task loss is its square


@pytest.fixture(scope="module")
def ids():
    """`[batches, tokens]`; the third expert is in demand only in batches 3 to 5."""
    rng = np.random.default_rng(0)
    few, many = ([0.7, 0.3, 0.0], [0.6, 0.1, 0.3])
    rows = [rng.choice(3, TOKENS, p=many if 3 <= b < 6 else few) for b in range(BATCHES)]
    return np.array(rows)


@pytest.fixture(scope="module")
def data(ids):
    x = 2 * np.eye(EXPERTS, dtype="float32")[ids]
    x = x.reshape(BATCHES * BATCH, LENGTH, EXPERTS)
    return x, np.full((*x.shape[:2], 1), TARGET, "float32")


def build_model(jit_compile=False, steps_per_execution=1, learning_rate=0.0):
    inputs = keras.Input((LENGTH, EXPERTS))
    layers = {}
    for name in ("same", "next"):
        router = SwitchRouter(1, 1.25, 1.25, jitter=0.0, balance_loss_weight=WEIGHT)
        layers[name] = MoE(router, FeedForwardExperts(EXPERTS, hidden_dim=13), name=name)
    x = keras.layers.add([layer(inputs) for layer in layers.values()])
    outputs = keras.layers.Dense(1, kernel_initializer="zeros")(x)
    model = keras.Model(inputs, outputs)
    layers["same"].router.kernel.assign(np.eye(EXPERTS))
    layers["next"].router.kernel.assign(np.roll(np.eye(EXPERTS), 1, axis=1))
    model.compile(
        keras.optimizers.SGD(learning_rate),
        "mse",
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return model


def fit(model, data, callbacks, epochs=1, **kwargs):
    return model.fit(
        *data,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    ).history


def counted(ids, layer):
    """Every summary of the given batches, from the expert of each token alone."""
    ids = (ids + 1) % EXPERTS if layer == "next" else ids
    demand = np.array([np.bincount(row, minlength=EXPERTS) for row in ids])
    load = np.minimum(demand, CAPACITY).sum(0)
    # f_e is an expert's share of the tokens, P_e the mean of its probability.
    mean_probability = (demand * CHOSEN + (TOKENS - demand) * OTHER) / TOKENS
    balance = WEIGHT * EXPERTS * (demand / TOKENS * mean_probability).sum(1)
    demands = demand.sum(0)
    scalars = {
        "dropped_fraction": 1 - load.sum() / demand.sum(),
        "load_cv": load.std() / load.mean(),
        "importance_cv": demands.std() / demands.mean(),  # every gate is the same
        "entropy": -CHOSEN * math.log(CHOSEN) - 2 * OTHER * math.log(OTHER),
        "dead_experts": (load == 0).sum(),
    }
    return {
        **{name: value for name, value in scalars.items() if name != "importance_cv"},
        "balance_loss": balance.mean(),
        "expert_load": [[e, e + 1, load[e]] for e in range(EXPERTS)],
        "load": load,
        "demand": demands,
        "importance": demands * CHOSEN,
        "gate_mean": np.where(demands > 0, CHOSEN, 0.0),
        "balance": list(scalars.values()),
    }


def assert_written(folder, ids, stops, first_step=0, losses=True):
    """One entry a tag for each stretch of batches; a stretch ends before the batch `stop`."""
    values, _ = read(folder)
    starts = [0, *stops[:-1]]
    for layer in ("same", "next"):
        for name in counted(ids[:1], layer):
            tag = f"{layer}/{name}"
            if name == "balance_loss" and not losses:
                assert tag not in values
                continue
            assert [step for step, _ in values[tag]] == [first_step + stop for stop in stops]
            for (_, value), start, stop in zip(values[tag], starts, stops, strict=True):
                expected = counted(ids[start:stop], layer)[name]
                np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6, err_msg=tag)


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


def test_what_lasts_is_said_once_and_written_for_as_long_as_it_lasts(
    ids, data, tmp_path, capsys, caplog
):
    # The third expert is dead in batches 0 to 2 and 6 to 10. Steps begin at 1.
    bounds = RoutingBounds(steps=3, load_cv=5.0, dropped_fraction=0.9)
    fit(build_model(), data, [RoutingCallback(tmp_path, every=1, bounds=bounds)])
    values, _ = read(tmp_path / "train")
    health = {step: [text.decode() for text in texts] for step, texts in values["same/health"]}
    assert [step for step, texts in health.items() if texts] == [3, 9, 10, 11]
    watched = {step: [text.decode() for text in texts] for step, texts in values["same/watched"]}
    dead = "expert 2 computed nothing, {} of 3 steps"
    assert {step: texts for step, texts in watched.items() if texts} == {
        step: [dead.format(steps)] for step, steps in ((1, 1), (2, 2), (7, 1), (8, 2))
    }
    words = "Expert 2 has computed nothing for 3 steps. Try a higher balance_loss_weight"
    assert health[3][0].startswith(words) and health[9][0].startswith(words)
    assert "for 5 steps" in health[11][0]
    told = [f"same, step 3: {health[3][0]}", f"next, step 3: {words.replace('2', '0')}"]
    printed = capsys.readouterr().out
    assert printed.count("computed nothing") == 2 == len(caplog.messages)
    for text, message in zip(told, caplog.messages, strict=True):
        assert message.startswith(text) and message in printed
    assert {record.name for record in caplog.records} == {"moe_zoo"}


def test_a_short_run_ends_with_what_was_over_a_bound(data, capsys):
    x, y = (part[: 2 * BATCH] for part in data)  # no token of the third expert
    fit(build_model(), (x, y), [RoutingCallback(every=1)])
    assert (
        "same, over a bound as training ends: expert 2 computed nothing, 2 of 500 steps"
        in capsys.readouterr().out
    )


def test_warnings_without_files_and_none_at_all(data, capsys):
    bounds = RoutingBounds(steps=3)
    fit(build_model(), data, [RoutingCallback(every=1, bounds=bounds)])
    assert "computed nothing for 3 steps" in capsys.readouterr().out
    fit(build_model(), data, [RoutingCallback(every=1, bounds=None)])
    assert capsys.readouterr().out == ""


def test_an_evaluation_says_what_was_wrong_in_it(ids, data, tmp_path):
    x, y = (part[: 2 * BATCH] for part in data)  # no token of the third expert
    model = build_model()
    for name, bounds in (("with", RoutingBounds(dropped_fraction=0.5)), ("without", None)):
        callback = RoutingCallback(tmp_path / name, bounds=bounds)
        model.evaluate(x, y, BATCH, 0, callbacks=[callback])
    ((_, texts),) = read(tmp_path / "with" / "validation")[0]["same/health"]
    (text,) = (text.decode() for text in texts)
    assert text.startswith("Expert 2 has computed nothing in this evaluation. Try")
    assert "same/health" not in read(tmp_path / "without" / "validation")[0]  # nor healthy


class Pair(keras.Model):
    """A mixture that is built before `fit` and one that is not."""

    def __init__(self, passes_training=True):
        super().__init__()
        self.passes_training = passes_training
        self.mixtures = [
            MoE(SwitchRouter(capacity_factor=None), FeedForwardExperts(EXPERTS, 3), name=name)
            for name in ("old", "new")
        ]
        self.mixtures[0].build((None, None, EXPERTS))

    def call(self, x):
        for mixture in self.mixtures:
            x = mixture(x, training=True) if self.passes_training else mixture(x)
        return x


def test_a_layer_that_is_built_in_the_first_batch_beside_one_that_was_before(data, tmp_path):
    model = Pair()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = fit(model, (data[0], data[0]), [RoutingCallback(tmp_path, every=6)])
    values, _ = read(tmp_path / "train")
    for layer in ("old", "new"):
        demands = [(step, demand.sum()) for step, demand in values[f"{layer}/demand"]]
        assert demands == [(6, 6 * TOKENS), (11, 5 * TOKENS)]
    losses = history["old_balance_loss"][0] + history["new_balance_loss"][0]
    assert history["loss"][0] - history["task_loss"][0] == pytest.approx(losses, rel=1e-4)


def test_layers_that_count_nothing_are_told_of(data, tmp_path):
    model = Pair(passes_training=False)
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match=r"training=True. Received: \['old', 'new'\], none"):
        fit(model, (data[0], data[0]), [RoutingCallback(tmp_path)])


def test_with_gradients_added_up_no_batch_is_lost(ids, data, tmp_path):
    model = build_model()
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    model.compile(optimizer, "mse")
    fit(model, data, [RoutingCallback(tmp_path, every=5)], epochs=3)
    values, _ = read(tmp_path / "train")
    steps = [step for step, _ in values["same/load"]]
    assert steps == sorted(set(steps)) and steps[-1] == 3 * BATCHES // 4
    written = sum(load for _, load in values["same/load"])
    np.testing.assert_array_equal(written, counted(np.concatenate(3 * [ids]), "same")["load"])


def test_gates_that_leave_experts_to_other_tasks_are_fine(tmp_path, capsys):
    mixing = MMoE(MLPExperts(4, (3,)), NoisyTopKGate(1, 0.0, 0.0), name="mixing", num_tasks=2)
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1)(mixing(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((8, 5))  # all rows are alike, so a gate takes one expert alone
    bounds = RoutingBounds(steps=1)
    callback = RoutingCallback(tmp_path, every=1, bounds=bounds)
    model.fit(x, np.ones((8, 2, 1)), 4, verbose=0, callbacks=[callback])
    assert routing_stats(model)["mixing_task_0"].dead_experts
    assert capsys.readouterr().out == ""
    values, _ = read(tmp_path / "train")
    assert "mixing_task_0/load" in values and "mixing_task_0/health" not in values


def test_under_a_mirrored_strategy(data, tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = build_model()
        x, y = (part[: 4 * 10] for part in data)
        callback = RoutingCallback(tmp_path, every=3)
        model.fit(x, y, 10, shuffle=False, verbose=0, callbacks=[callback])
    values, _ = read(tmp_path / "train")
    demands = [(step, demand.sum()) for step, demand in values["same/demand"]]
    assert demands == [(3, 3 * 10 * LENGTH), (4, 10 * LENGTH)]  # of both replicas


def test_layers_within_layers_come_in_the_order_of_the_model():
    class Block(keras.layers.Layer):
        def __init__(self, number):
            super().__init__()
            router = SwitchRouter()
            self.first = MoE(router, FeedForwardExperts(2, 3), name=f"first_{number}")
            self.second = MoE(SwitchRouter(), FeedForwardExperts(2, 3), name=f"second_{number}")

        def call(self, x):
            return self.second(self.first(x))

    class Stack(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [Block(number) for number in range(3)]

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    model = Stack()
    model(np.ones((1, 2, 3)))
    expected = [f"{name}_{number}" for number in range(3) for name in ("first", "second")]
    assert list(routing_stats(model)) == expected


@pytest.mark.parametrize("every", [0, -1, 2.5, True, None])
def test_every_has_to_be_a_positive_whole_number(every):
    with pytest.raises(ValueError, match=r"at least 1\. Received: every="):
        RoutingCallback(every=every)


def test_a_model_that_keras_builds_in_the_first_batch(data, tmp_path):
    mixture = MoE(SwitchRouter(), FeedForwardExperts(EXPERTS, hidden_dim=13), name="late")
    model = keras.Sequential([mixture, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    fit(model, data, [RoutingCallback(tmp_path, every=6)], validation_data=data)
    values, _ = read(tmp_path / "train")
    assert [step for step, _ in values["late/demand"]] == [6, 11]
    # Every token asks once; the first batch is not lost.
    assert [demand.sum() for _, demand in values["late/demand"]] == [6 * TOKENS, 5 * TOKENS]
    values, _ = read(tmp_path / "validation")
    assert values["late/demand"][0][1].sum() == BATCHES * TOKENS

    model = keras.Sequential([mixture.from_config(mixture.get_config())])
    model.compile("sgd", "mse")
    model.evaluate(data[0], data[0], BATCH, 0, callbacks=[RoutingCallback(tmp_path / "alone")])
    values, _ = read(tmp_path / "alone" / "validation")
    assert values["late/demand"][0][1].sum() == BATCHES * TOKENS


@pytest.mark.parametrize("inputs", [[keras.Input((3,))], []], ids=["built", "built later"])
def test_a_model_without_mixture_is_refused(inputs):
    model = keras.Sequential([*inputs, keras.layers.Dense(1)], name="dense")
    model.compile("sgd", "mse")
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="an MoE layer. Received: model='dense'"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[RoutingCallback()])
    with pytest.raises(ValueError, match="an MoE layer. Received: model='dense'"):
        model.evaluate(x, x[:, :1], verbose=0, callbacks=[RoutingCallback()])


class Forgetful(keras.Model):
    def __init__(self):
        super().__init__()
        self.mixture = MoE(SwitchRouter(), FeedForwardExperts(EXPERTS, hidden_dim=13), name="left")
        self.dense = keras.layers.Dense(1)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_mixture_that_is_never_built_is_refused():
    model = Forgetful()
    model.compile("sgd", "mse")
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"the model calls\. Received: layers=\['left'\]"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[RoutingCallback()])
    with pytest.raises(ValueError, match=r"the model calls\. Received: layers=\['left'\]"):
        model.evaluate(x, x[:, :1], verbose=0, callbacks=[RoutingCallback()])


def test_a_folder_that_cannot_be_written_fails_before_training(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    model = build_model()
    with pytest.raises(OSError, match="can be written. Received: log_dir=.*file"):
        fit(model, data, [RoutingCallback(tmp_path / "file")])
    assert int(model.optimizer.iterations) == 0
