"""The layers under XLA: what is right there, and what refuses."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.gates import DSelectKGate, NoisyTopKGate, SoftmaxGate
from moe_zoo.layers import MMoE, MoE
from moe_zoo.plans.grouped_matmul import grouped_matmul
from moe_zoo.routers import GShardRouter, SwitchRouter
from small_moe import ROUTERS, D, E, moe, normal

TOKENS = 57
REFUSED = "no_dropless_layer_under_XLA_use_jit_compile_False_or_a_capacity_factor"
EXPERTS = {
    "alike": lambda: FeedForwardExperts(5, 7),
    "mixed": lambda: HeterogeneousExperts([MLPExperts(3, (D,)), FeedForwardExperts(2, 3)]),
}


def dropless(experts):
    return MoE(GShardRouter(capacity_factor=None, eval_capacity_factor=None), experts)


def gradients(layer, x, training=True):
    """The outputs, and the gradients of their squares and of the losses."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.square(y)) + sum(layer.losses)
    return y, *tape.gradient(loss, [x, *layer.trainable_variables])


@pytest.mark.parametrize("kind", EXPERTS)
def test_a_dropless_layer_refuses_xla(kind):
    layer = dropless(EXPERTS[kind]())
    x = normal(TOKENS, D)
    layer(x)
    for function in (layer, functools.partial(gradients, layer)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=REFUSED):
            tf.function(function, jit_compile=True)(x)


@pytest.mark.parametrize("constants", [0, 1, 2, 3])
def test_a_product_of_sorted_rows_refuses_xla(constants):
    """Whether its arguments are known when it is compiled, from the last one on, or not."""
    arguments = normal(TOKENS, D), normal(3, D, 2), tf.constant([20, 0, 37])
    given, known = arguments[: 3 - constants], arguments[3 - constants :]
    known = [x.numpy() for x in known]

    def product(*given):
        return grouped_matmul(*given, *map(tf.constant, known))

    expected = grouped_matmul(*arguments)
    np.testing.assert_array_equal(tf.function(product)(*given), expected)
    with pytest.raises(tf.errors.InvalidArgumentError, match=REFUSED):
        tf.function(product, jit_compile=True)(*given)


def test_a_saved_dropless_layer_refuses_xla(tmp_path):
    inputs = keras.Input((D,))
    model = keras.Model(inputs, dropless(FeedForwardExperts(5, 7))(inputs))
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")  # held, since a function holds no variables
    x = normal(TOKENS, D)
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match=REFUSED):
        tf.function(loaded.serve, jit_compile=True)(x)


GATES = {"softmax": SoftmaxGate, "noisy": NoisyTopKGate, "dselect": DSelectKGate}
CHOOSING = {router.__name__: lambda router=router: moe(router()) for router in ROUTERS} | {
    name: lambda gate=gate: MMoE(MLPExperts(E, (D,)), gate(), num_tasks=2)
    for name, gate in GATES.items()
}


QUICK = {"SwitchRouter", "noisy"}


@pytest.mark.parametrize(
    "kind", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in CHOOSING]
)
def test_what_is_not_finite_reaches_the_outputs_under_xla(kind):
    """There the check that names the layer is left out."""
    layer = CHOOSING[kind]()
    x = np.asarray(normal(TOKENS, D))
    layer(x)
    run = tf.function(lambda x: layer(x, training=True), jit_compile=True)
    assert np.isfinite(run(tf.constant(x))).all()
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[-1, 0] = value  # of the last token, which gets no slot where there are few
        assert np.isnan(run(tf.constant(bad))).any(), value
    kernel = layer.gate.layers_weights[-1][0] if kind in GATES else layer.router.kernel
    kernel.assign(tf.fill(kernel.shape, np.nan))
    assert np.isnan(run(tf.constant(x))).any()


@pytest.mark.slow
def test_terminate_on_nan_stops_a_run_under_xla():
    inputs = keras.Input((D,))
    layer = moe(SwitchRouter())
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse", jit_compile=True)

    def spoil(batch, logs):
        if batch == 1:
            layer.router.kernel.assign(tf.fill(layer.router.kernel.shape, np.nan))

    losses = []
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(
            on_train_batch_begin=spoil,
            on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]),
        ),
    ]
    x = normal(5 * TOKENS, D)
    model.fit(x, x, TOKENS, shuffle=False, verbose=0, callbacks=callbacks)
    np.testing.assert_array_equal(np.isfinite(losses), [True, False])  # of five batches


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPERTS)
def test_automatic_clusters_of_xla_leave_results_right(kind):
    folder = Path(__file__).parent
    flags = {
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "PYTHONPATH": str(folder.parent),
    }
    environment = {**os.environ, **flags, "TF_CPP_MIN_LOG_LEVEL": "0"}
    code = f"import test_xla; test_xla.compare_with_eager({kind!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Compiled cluster using XLA" in done.stderr  # else there was nothing to compare


def compare_with_eager(kind):
    """What the child process does: the function is compiled by what it runs on after two calls."""
    keras.utils.set_random_seed(0)
    layer = MoE(
        GShardRouter(
            capacity_factor=None, eval_capacity_factor=None, second_expert_policy="threshold"
        ),
        EXPERTS[kind](),
    )
    x = normal(TOKENS, D)
    layer(x)
    expected, function = gradients(layer, x), tf.function(gradients)
    for _ in range(3):
        for found, value in zip(function(layer, x), expected, strict=True):
            np.testing.assert_allclose(
                tf.convert_to_tensor(found), tf.convert_to_tensor(value), atol=1e-4
            )
