"""Layers for several tasks: swapped, trained, saved, exported, counted, and put wrong."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import slow_but
from moe_zoo.experts import FeedForwardExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.export import export_saved_model
from moe_zoo.gates import DSelectKGate, NoisyTopKGate, SoftmaxGate
from moe_zoo.layers import (
    CGC,
    PLE,
    CrossStitch,
    MMoE,
    MoE,
    SharedBottom,
    SingleTask,
    TaskMixing,
)
from moe_zoo.plans import EveryRow, SortedRows
from moe_zoo.routers import SoftmaxRouter
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutingCallback

B, D, T, U = 13, 7, 3, 5


def experts(count=4, **kwargs):
    return MLPExperts(count, (U,), **kwargs)


def mixed():
    return HeterogeneousExperts([experts(2), FeedForwardExperts(3, 11, output_dim=U)])


LAYERS = {
    "mmoe": lambda: MMoE(
        experts(dropout=0.1), SoftmaxGate(dropout=0.2, hidden_dims=(3,)), num_tasks=T
    ),
    "mmoe_mixed": lambda: MMoE(mixed(), NoisyTopKGate(2), num_tasks=T),
    "mmoe_dselect": lambda: MMoE(experts(5), DSelectKGate(2), num_tasks=T),
    "omoe": lambda: MMoE(
        experts(), DSelectKGate(2, per_example=False), shared_gate=True, num_tasks=T
    ),
    "cgc": lambda: CGC(experts(2), experts(3), NoisyTopKGate(2), num_tasks=T),
    "ple": lambda: PLE(experts(2), mixed(), gate=SoftmaxGate(dropout=0.2), num_tasks=T),
    "shared_bottom": lambda: SharedBottom((11, U), dropout=0.1, num_tasks=T),
    "single_task": lambda: SingleTask((11, U), num_tasks=T),
    "cross_stitch": lambda: CrossStitch((11, U), stitch_initial=0.8, num_tasks=T),
}


def model_with(make, **compile_options):
    inputs = keras.Input((D,))
    outputs = make()(inputs)
    model = keras.Model(inputs, keras.layers.EinsumDense("btu,tu->bt", (T,))(outputs))
    model.compile(keras.optimizers.Adam(1e-2), "mse", **compile_options)
    return model


def data(count=64):
    x = np.random.default_rng(3).normal(size=(count, D)).astype("float32")
    return x, np.tanh(x[:, :T] * x[:, 1 : T + 1])


def fit(model, epochs=15, **options):
    return model.fit(*data(), batch_size=16, epochs=epochs, verbose=0, **options).history


@pytest.mark.parametrize("name", LAYERS)
def test_all_can_be_swapped(name):
    layer = LAYERS[name]()
    assert isinstance(layer, TaskMixing)
    for count in (B, 1, 0):
        x = tf.constant(data()[0][:count])
        for training in (None, False, True):
            assert layer(x, training=training).shape == (count, T, U)
    unknown = layer(keras.Input((D,)))
    assert unknown.shape == (None, T, U) == layer.compute_output_shape((None, D))
    row = tf.function(layer, input_signature=[tf.TensorSpec([None, D])])
    np.testing.assert_allclose(row(data()[0][:1]), layer(data()[0][:1]), atol=1e-6)


XLA = ["mmoe", "mmoe_mixed", "mmoe_dselect", "ple", "cross_stitch"]


@pytest.mark.parametrize("name", slow_but(["mmoe"], XLA))
def test_trained_with_xla(name):
    losses = fit(model_with(LAYERS[name], jit_compile=True), 10)["loss"]
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize(
    ("number", "name"), slow_but([(0, "mmoe"), (3, "omoe")], enumerate(LAYERS))
)
def test_trained_in_half_precision(number, name):
    keras.config.set_dtype_policy(("mixed_bfloat16", "mixed_float16")[number % 2])
    model = model_with(LAYERS[name])
    losses = fit(model, 10)["loss"]
    assert losses[-1] < 0.85 * losses[0]
    layer = model.layers[1]
    assert layer(data()[0]).dtype == keras.config.dtype_policy().compute_dtype
    assert {w.dtype for w in layer.trainable_weights} == {"float32"}


@pytest.mark.parametrize("name", slow_but(["mmoe", "single_task"], LAYERS))
def test_trained_saved_and_exported_exactly(name, tmp_path):
    model = model_with(LAYERS[name])
    losses = fit(model, 10)["loss"]
    assert losses[-1] < 0.85 * losses[0]
    x = data()[0]
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    fresh = model_with(LAYERS[name])
    fresh.optimizer.build(fresh.trainable_variables)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh.predict(x, verbose=0), expected)
    export_saved_model(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(x), expected, atol=1e-6)
    # Where it goes on, it goes on alike: dropout and noise are part of what is saved.
    np.testing.assert_array_equal(fit(loaded, 1)["loss"], fit(model, 1)["loss"])


# === Experts ===


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("name", ["mmoe", "cgc", "ple"])
def test_trap_no_two_experts_start_alike(name, seed):
    start = keras.initializers.GlorotUniform(seed=seed)
    one = MLPExperts(2, (U, U), kernel_initializer=start)
    layer = {
        "mmoe": lambda: MMoE(one, num_tasks=T),
        "cgc": lambda: CGC(one, one, num_tasks=T),
        "ple": lambda: PLE(one, one, gate=SoftmaxGate(kernel_initializer=start), num_tasks=T),
    }[name]()
    layer.build((None, U))  # as wide as the experts, so that all levels can be compared
    kernels = np.concatenate(
        [
            w.numpy().reshape(-1, U, U)
            for w in layer.weights
            if re.search("experts.*/kernel", w.path)
        ]
    )
    for i in range(len(kernels)):
        for j in range(i):
            assert not np.any(kernels[i] == kernels[j])
    gates = [w.numpy().ravel() for w in layer.weights if "gate/kernel" in w.path]
    gates = np.concatenate(gates)
    assert len(np.unique(gates)) == gates.size > 0  # nor two gates


def test_every_layout_of_mixed_experts_gives_the_same():
    layer = mixed()
    x = np.random.default_rng(3).normal(size=(B, D)).astype("float32")
    every = layer(x, layout=EveryRow()).numpy()
    stacked = layer(np.repeat(x[None], 5, 0)).numpy()
    np.testing.assert_allclose(stacked, every.transpose(1, 0, 2), atol=1e-6)
    counts = np.array([2, 0, 3, 1, 4])
    owners = np.repeat(np.arange(5), counts)
    rows = layer(x, layout=SortedRows(tf.constant(counts))).numpy()
    np.testing.assert_allclose(rows[:10], every[np.arange(10), owners], atol=1e-6)
    np.testing.assert_array_equal(rows[10:], 0.0)


@pytest.mark.parametrize("make", [lambda: experts(4), mixed], ids=["mlp", "mixed"])
def test_a_row_of_its_own_for_each_expert(make):
    layer = make()
    count = layer.num_experts
    x = np.random.default_rng(3).normal(size=(B, count, D)).astype("float32")
    outputs = layer(x, layout=EveryRow())
    expected = layer(x.transpose(1, 0, 2))  # [E, M, D]
    np.testing.assert_allclose(outputs, np.transpose(expected, [1, 0, 2]), atol=1e-6)


def test_mixed_experts_in_the_sparse_layer():
    layer = MoE(SoftmaxRouter(), HeterogeneousExperts([experts(2), FeedForwardExperts(1, 3, U)]))
    assert layer(tf.ones([2, B, D])).shape == (2, B, U)


# === Statistics ===


def test_statistics_for_each_task(tmp_path):
    names = ["click", "buy", "rating"]

    def make():
        return PLE(
            experts(2), experts(3), gate=NoisyTopKGate(2), task_names=names, name="p", num_tasks=T
        )

    model = model_with(make)
    history = fit(model, 2, callbacks=[RoutingCallback(tmp_path, every=2)])
    stats = routing_stats(model)
    assert list(stats) == [f"p_{name}" for name in names]
    for name, found in stats.items():
        assert found.tokens == 2 * 64 and found.steps == 8
        assert found.demand.sum() == 2 * 64 * 2  # two experts of a row
        assert found.importance.sum() == pytest.approx(2 * 64, rel=1e-5)
        shown = {key.removeprefix(f"{name}_") for key in history if key.startswith(name)}
        losses = {"importance_loss", "load_loss"}
        assert shown == {"importance_cv", "entropy", "dead_experts", *losses}
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_task_loss_leaves_out_what_all_gates_add():
    def make():
        return PLE(experts(2), experts(3), gate=NoisyTopKGate(2, 3.0, 5.0), num_tasks=T)

    model = model_with(make)
    x, y = data()
    # One batch of all: `loss` is that batch's, and every gate's losses are in `twin.losses`.
    twin = model_with(make)
    twin.set_weights(model.get_weights())
    outputs = twin(x, training=True)
    added = float(tf.add_n(twin.losses))
    options = {"batch_size": 64, "shuffle": False, "verbose": 0}
    logs = model.fit(x, y, callbacks=[RoutingCallback()], **options).history
    assert logs["loss"][0] - logs["task_loss"][0] == pytest.approx(added, rel=1e-4)
    assert logs["task_loss"][0] == pytest.approx(float(np.mean((outputs - y) ** 2)), rel=1e-3)
    assert len(twin.losses) == 2 * 3 and added > 0.1  # two losses of two gates and a shared one


@pytest.mark.parametrize("shared", [5, 3])
def test_losses_that_only_one_gate_of_a_level_has_count_too(shared):
    # Codes reach all of 2^m experts. 1 own and 5 shared ones are 6, those of the shared gate
    # 3 * 1 + 5 = 8 = 2^3; with 3 shared ones they are 4 = 2^2 and 6.
    gate = DSelectKGate(2, entropy_loss_weight=0.0, reach_loss_weight=0.5)
    layer = PLE(experts(1), experts(shared), gate=gate, num_tasks=T)
    layer.build((None, D))
    _, gates = layer.mix(tf.ones([B, D]), training=True)
    assert list(gates.losses) == ["reach_loss"]
    added = sum(float(loss) for loss in layer.losses)
    assert float(gates.losses["reach_loss"]) == pytest.approx(added, rel=1e-6) and added > 0.1


def test_one_gate_has_one_entry_and_networks_have_none():
    model = model_with(lambda: MMoE(experts(), shared_gate=True, name="one", num_tasks=T))
    fit(model, 1)
    assert list(routing_stats(model)) == ["one"]
    entropy = routing_stats(model)["one"].entropy
    assert 0 < entropy <= np.log(4)
    plain = model_with(lambda: SharedBottom((U,), num_tasks=T))
    fit(plain, 1)
    assert routing_stats(plain) == {}
    with pytest.raises(ValueError, match="Expected a model with an MoE layer"):
        fit(plain, 1, callbacks=[RoutingCallback()])


# === Wrong arguments ===


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: MMoE(experts(), num_tasks=0), "whole number of at least 1. Received: num_tasks=0"),
        (
            lambda: MMoE(experts(), task_names=["a", "a", "b"], num_tasks=T),
            r"3 different names. Received: task_names=\['a', 'a', 'b'\]",
        ),
        *(
            (
                lambda names=names: MMoE(experts(), task_names=names),
                rf"different names. Received: task_names={received}. Give a list with a str for",
            )
            for names, received in (([], r"\[\]"), ("ab", "'ab'"), ([1, 2], r"\[1, 2\]"))
        ),
        (lambda: SharedBottom((), num_tasks=T), r"at least 1 sizes. Received: hidden_dims=\(\)"),
        (lambda: MLPExperts(2, (3, -1)), "Received: hidden_dims=-1"),
        (lambda: PLE(experts(), experts(), levels=0, num_tasks=T), "Received: levels=0"),
        (
            lambda: CGC(MLPExperts(2, (3,)), MLPExperts(2, (5,)), num_tasks=T).build((None, D)),
            "one output width. Received: task_experts of 3, shared_experts of 5",
        ),
        (
            lambda: CrossStitch((3,), stitch_initial=1.5, num_tasks=T),
            r"\[0, 1\]. Received: stitch_initial=1.5",
        ),
        (lambda: HeterogeneousExperts([]), r"list of experts. Received: parts=\[\]"),
        (
            lambda: HeterogeneousExperts([experts(), MLPExperts(2, (3,))]).build((None, D)),
            "one output width. Received: parts of the widths 5, 3",
        ),
        (
            lambda: MMoE(experts(), num_tasks=T)(tf.ones([2, 3, D])),
            r"\[batch, width\] with a known width. Received: input_shape=\(2, 3, 7\)",
        ),
        (lambda: MMoE(experts(), num_tasks=T)(keras.Input((None,))), r"input_shape=\(None, None\)"),
        (
            lambda: SharedBottom((3,), name="bottom").build((None, D)),
            "num_tasks=None for 'bottom'. Put it into a MultiTaskRecommender, .* or give num_tasks",
        ),
        (
            lambda: SharedBottom((3,), task_names=["a", "b"], name="bottom").set_tasks(["a", "c"]),
            r"the tasks \['a', 'c'\]. Received: 'bottom', whose tasks are \['a', 'b'\]",
        ),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "kind, options", [(MMoE, {}), (MMoE, {"shared_gate": True}), (CGC, {}), (PLE, {})]
)
def test_the_number_of_tasks_may_come_later(kind, options):
    """The layer is then the one that was given it, also after a round through its config."""
    start = keras.initializers.GlorotUniform(seed=5)

    def make(**sizes):
        count = 1 if kind is MMoE else 2  # experts of all, or of tasks and of all
        parts = [experts(kernel_initializer=start, name=f"part_{i}") for i in range(count)]
        gate = SoftmaxGate(kernel_initializer=start, name="gate")
        return kind(*parts, gate=gate, name="mix", **options, **sizes)

    layers = [make(num_tasks=T), make(), kind.from_config(make().get_config())]
    for layer in layers:
        layer.set_tasks([f"task_{t}" for t in range(T)])
        layer.build((None, D))
    for layer in layers[1:]:
        assert json.dumps(layer.get_config()) == json.dumps(layers[0].get_config())
        pairs = zip(layer.trainable_weights, layers[0].trainable_weights, strict=True)
        for found, expected in pairs:
            np.testing.assert_array_equal(found, expected)


def test_stitches_start_as_shares():
    layer = CrossStitch((U, U), stitch_initial=0.8, num_tasks=T)
    layer.build((None, D))
    for stitch in layer.stitches:
        np.testing.assert_allclose(stitch, 0.7 * np.eye(T) + 0.1, rtol=1e-6)  # 0.8, else 0.1
    alone = CrossStitch((U,), num_tasks=1)
    alone.build((None, D))
    np.testing.assert_array_equal(alone.stitches[0], [[1.0]])


def test_the_shared_gate_sees_all_experts_and_the_last_level_has_none():
    layer = PLE(experts(2), experts(3), levels=3, num_tasks=T)
    layer.build((None, D))
    for level in layer.levels[:-1]:
        assert level.shared_gate.num_experts == T * 2 + 3
    assert layer.levels[-1].shared_gate is None
    assert {level.gate.num_experts for level in layer.levels} == {2 + 3}


def test_a_configuration_gives_the_same_start_again_and_again():
    """Seeds in it are those that were given, not those of the clones."""
    start = keras.initializers.GlorotUniform(seed=5)
    parts = [MLPExperts(3, (7,), kernel_initializer=start) for _ in range(2)]
    layers = [PLE(*parts, num_tasks=2)]
    for _ in range(2):
        layers.append(PLE.from_config(layers[-1].get_config()))
    for layer in layers:
        layer.build((None, 5))
    kernels = [
        [v.numpy() for v in layer.trainable_variables if "gate" not in v.path] for layer in layers
    ]
    for first, second, third in zip(*kernels, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)
    again = PLE.from_config(layers[0].get_config())  # of a built one: its templates hold no weights
    assert not any(template.built for template in again._templates())
