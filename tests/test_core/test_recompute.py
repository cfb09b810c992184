"""Recomputed activations: the gradients, choices and counts of the layer that is not recomputed."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from moe_zoo import recompute, routing_stats
from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.gates import DSelectKGate, NoisyTopKGate
from moe_zoo.layers import PLE, CrossStitch, MMoE, MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from small_moe import D, E, F, normal
from small_transformers import make, mixture, tokens

ROWS = 23
ALONE = {"name": "layer"}
LAYERS = {
    "switch": lambda: MoE(
        SwitchRouter(balance_loss_weight=1.0, jitter=0.3, z_loss_weight=0.1, seed=1),
        FeedForwardExperts(E, F, dropout=0.3),
        **ALONE,
    ),
    "noisy": lambda: MoE(NoisyTopKRouter(seed=1), MLPExperts(E, (F, D)), group_size=7, **ALONE),
    "gshard": lambda: MoE(
        GShardRouter(seed=1, capacity_factor=None), FeedForwardExperts(E, F), **ALONE
    ),
    "softmax": lambda: MoE(
        SoftmaxRouter(jitter=0.3, seed=1), FeedForwardExperts(E, F, dropout=0.3), **ALONE
    ),
    "mmoe": lambda: MMoE(
        MLPExperts(E, (D,), dropout=0.3),
        NoisyTopKGate(2, dropout=0.3, seed=1),
        num_tasks=2,
        **ALONE,
    ),
    "ple": lambda: PLE(
        MLPExperts(2, (D,)), MLPExperts(E, (D,)), gate=DSelectKGate(2), num_tasks=2, **ALONE
    ),
    "cross_stitch": lambda: CrossStitch((D, 3), dropout=0.3, num_tasks=2, **ALONE),
}
MODES = {
    "full": {},
    "activations": {},
    "larger_than": {"output_size_threshold": 3},
    "list_of_layers": {"layer_names": ["layer", "experts"]},
}


def made(kind, mode=None):
    keras.utils.set_random_seed(0)
    with keras.RematScope(mode=mode, **MODES.get(mode, {})):
        layer = LAYERS[kind]()
    layer.build((None, D))
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    return layer


def step(layer, call, x, mask=None):
    """The outputs, the losses, and the gradients of both together, for all weights and inputs."""
    options = {} if mask is None else {"mask": mask}
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = call(x, training=True, **options)
        losses = tf.sort(layer.losses)  # those of several gates come in another order
        loss = tf.reduce_sum(tf.square(tf.cast(y, tf.float32))) + tf.reduce_sum(losses)
    gradients = tape.gradient(loss, [x, *(w.value for w in layer.trainable_weights)])
    return y, losses, gradients


def state(layer):
    stats = [[x for x in values if x is not None] for values in routing_stats(layer).values()]
    return [v.numpy() for v in layer.non_trainable_variables], stats


def assert_same(found, expected):
    """Shows every value that differs: together they tell which operation is wrong."""
    differences = []
    pairs = zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True)
    for i, (a, b) in enumerate(pairs):
        try:
            np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5, err_msg=f"Value {i}")
        except AssertionError as error:
            differences.append(str(error))
    assert not differences, "\n".join(differences)


def compare(found, expected, x, mask=None, call=None, function=None):
    """Two steps of two layers with the same weights."""
    run = (function or (lambda f: f))(step)
    for _ in range(2):
        assert_same(run(found, call or found, x, mask), step(expected, expected, x, mask))
        for layer in (found, expected):
            layer._clear_losses()
    assert_same(state(found), state(expected))


@pytest.mark.parametrize(("mode", "times"), [(None, 1), ("activations", 1), ("full", 2)])
def test_activations_are_recomputed(mode, times, monkeypatch):
    layer, calls = made("switch", mode), []
    compute = layer.experts.compute
    monkeypatch.setattr(layer.experts, "compute", lambda *x: calls.append(x) or compute(*x))
    step(layer, layer, normal(ROWS, D))
    assert len(calls) == times


@pytest.mark.parametrize("kind", LAYERS)
def test_recompute(kind):
    found = made(kind)
    compare(found, made(kind), normal(ROWS, D), call=recompute(found))


@pytest.mark.parametrize(
    ("kind", "mode"), [*(("switch", mode) for mode in MODES), ("mmoe", "full"), ("ple", "full")]
)
def test_modes_of_the_scope(kind, mode):
    compare(made(kind, mode), made(kind), normal(ROWS, D), function=tf.function)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("names", [["layer"], ["experts"], ["layer", "experts"]])
def test_half_precision_is_exact(policy, names):
    """Weights are read whole, and cast in the second run as in the first."""
    keras.config.set_dtype_policy(policy)

    def once(mode):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode, layer_names=names):
            router = SwitchRouter(z_loss_weight=0.1, seed=1)
            layer = MoE(router, FeedForwardExperts(E, F, name="experts"), name="layer")
        layer.build((None, D))
        return step(layer, layer, tf.cast(normal(ROWS, D), policy.removeprefix("mixed_")))

    found, expected = once("list_of_layers"), once(None)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_mask():
    mask = tf.constant(np.arange(ROWS) % 3 > 0)
    compare(made("switch", "full"), made("switch"), normal(ROWS, D), mask, function=tf.function)


class Block(keras.layers.Layer):
    """A user's own, with noise of its own."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.2, seed=4)
        self.mixture = made("switch")

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x, training=None):
        return x + self.mixture(self.dropout(x, training=training) * self.scale, training=training)


def test_a_weight_that_is_not_used_has_zeros_as_gradient():
    class Idle(Block):
        def build(self, shape):
            super().build(shape)
            self.idle = self.add_weight(shape=(2,), initializer="ones")

    layer = Idle()
    layer.build((None, D))
    gradients = step(layer, recompute(layer), normal(ROWS, D))[2]
    (place,) = (i for i, w in enumerate(layer.trainable_weights) if w is layer.idle)
    np.testing.assert_array_equal(gradients[1 + place], [0, 0])


@pytest.mark.parametrize("function", [None, tf.function])
def test_a_block_that_holds_a_layer(function):
    found, expected = Block(), Block()
    for block in (found, expected):
        block.build((None, D))
    compare(found, expected, normal(ROWS, D), call=recompute(found), function=function)


@pytest.mark.parametrize(
    ("policy", "jit_compile", "accumulated"),
    [
        ("float32", False, 2),
        pytest.param("mixed_float16", True, None, marks=pytest.mark.slow),  # XLA takes long
    ],
)
def test_fit(policy, jit_compile, accumulated):
    keras.config.set_dtype_policy(policy)

    def fitted(mode):
        inputs = keras.Input((D,))
        layer = made("switch", mode)
        model = keras.Model(inputs, layer(inputs))
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulated)
        model.compile(optimizer, "mse", jit_compile=jit_compile)
        x = normal(4 * ROWS, D)
        logs = model.fit(x, tf.sin(x), ROWS, shuffle=False, verbose=0).history
        return logs, model.get_weights(), state(layer)

    tolerance = {"float32": 1e-5, "mixed_float16": 2e-3}[policy]
    for a, b in zip(*map(tf.nest.flatten, (fitted("full"), fitted(None))), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)


ALONE_IN_TRAINING = {
    "layer": lambda: made("switch"),
    "tasks": lambda: made("mmoe"),
    "router": lambda: NoisyTopKRouter(num_experts=E),
    "gate": lambda: NoisyTopKGate(num_tasks=2, num_experts=E),
    "experts": lambda: FeedForwardExperts(ROWS, F, dropout=0.1),
    "block": Block,
}


@pytest.mark.parametrize("kind", ALONE_IN_TRAINING)
def test_recomputing_that_the_layer_does_not_know_of_is_refused(kind):
    layer = ALONE_IN_TRAINING[kind]()
    x = normal(ROWS, 1, D) if kind in ("router", "experts") else normal(ROWS, D)
    layer(x)  # in a plain call nothing is added, counted or drawn
    with pytest.raises(ValueError, match=r"within tf\.recompute_grad.* Use moe_zoo\.recompute"):
        tf.recompute_grad(lambda x: layer(x, training=True))(x)
    outer = recompute(Around(layer))
    with pytest.raises(ValueError, match="Received: layer="):
        outer(x, training=True)


class Around(keras.layers.Layer):
    """Within what is recomputed right, something that is not."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x, training=None):
        return keras.remat(lambda x: self.layer(x, training=training))(x)


def recomputed_transformer(mode):
    keras.utils.set_random_seed(0)
    names = [f"block_{i}" for i in range(2)]
    with keras.RematScope(mode=mode, layer_names=names):
        model = make(layers=2, moe=mixture(SwitchRouter(seed=1)), dropout=0.1, random=False)
    assert {layer.name for layer in model._flatten_layers()} >= set(names)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    return model


def test_a_block_of_a_transformer():
    def trained(mode):
        model, x = recomputed_transformer(mode), tokens()
        return model.train_on_batch(x, x), model.get_weights(), state(model)

    assert_same(trained("list_of_layers"), trained(None))


def test_no_weight_is_read_after_its_update():
    """In the graph that runs, after TensorFlow has optimized it.

    When the second run read the weights itself, the optimized graph lost the order of one read and
    its update. In one of 81 first steps the update came first, and the gradient was wrong.
    """
    model, x = recomputed_transformer("list_of_layers"), tokens()
    context.enable_run_metadata()
    try:
        context.export_run_metadata()  # drops what an earlier trace of this process has left
        model.train_on_batch(x, x)
        graphs = [g.post_optimization_graph for g in context.export_run_metadata().function_graphs]
    finally:
        context.disable_run_metadata()
    nodes = {node.name: node for node in max((g.node for g in graphs), key=len)}
    inputs = {name: [re.sub(r"^\^|:.*", "", i) for i in n.input] for name, n in nodes.items()}
    updates = [name for name, node in nodes.items() if node.op == "AssignSubVariableOp"]
    assert len(updates) == len(model.trainable_weights)
    for update in updates:
        before, left = set(), [update]
        while left:
            new = [i for i in inputs[left.pop()] if i in nodes and i not in before]
            before.update(new)
            left += new
        weight = inputs[update][0]
        reads = {
            name
            for name, node in nodes.items()
            if node.op == "ReadVariableOp" and inputs[name][0] == weight
        }
        assert reads and reads <= before, (weight, reads - before)
