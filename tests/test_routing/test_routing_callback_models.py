"""RoutingCallback: what it warns about, and the models that it takes or refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from known_routing import (
    BATCH,
    BATCHES,
    EXPERTS,
    LENGTH,
    TOKENS,
    build_model,
    counted,
    fit,
    make_data,
    make_ids,
)
from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.gates import NoisyTopKGate
from moe_zoo.layers import MMoE, MoE
from moe_zoo.routers import SwitchRouter
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutingBounds, RoutingCallback
from routing_events import read


@pytest.fixture(scope="module")
def ids():
    return make_ids()


@pytest.fixture(scope="module")
def data(ids):
    return make_data(ids)


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
