"""Putting models on a mesh: layouts, and what devices send."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from conftest import slow_but
from mesh_models import (
    BATCH,
    GROUP,
    LENGTH,
    VOCABULARY,
    compiled,
    functional,
    mixture_of,
    parts_of,
    train,
)
from moe_zoo.distribution import ExpertParallel
from moe_zoo.distribution.collectives import record_collectives
from moe_zoo.distribution.mesh import make_mesh
from moe_zoo.distribution.sharded_variable import to_host, to_mesh
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SoftmaxRouter

# === Layouts ===


def test_each_device_holds_its_share_of_experts_and_of_their_slots(trained):
    model, _ = trained
    experts = mixture_of(model).experts
    assert parts_of(experts.kernel_in) == {(2, 16, 32)}
    assert parts_of(experts.bias_out) == {(2, 16)}
    slots = [v for v in model.optimizer.variables if "experts_kernel_in" in v.path]
    assert len(slots) == 2
    for slot in slots:
        assert parts_of(slot) == {(2, 16, 32)}
    assert parts_of(model.get_layer("embedding").embeddings) == {(VOCABULARY, 16)}


@pytest.mark.parametrize("optimizer", slow_but(["factored_adam"], ["adafactor", "factored_adam"]))
def test_factored_slots_are_spread_too(optimizer):
    model, parallel = compiled(functional, optimizer), ExpertParallel("expert=4")
    parallel.distribute(model)
    train(model, 1)
    kernels = mixture_of(model).experts.trainable_variables
    spread = [
        variable
        for variable, axes, _ in parallel.layouts(model)
        if variable.path.startswith(model.optimizer.name) and axes[:1] == ("expert",)
    ]
    assert len(spread) >= 2 * len(kernels)
    for variable in spread:
        assert parts_of(variable).pop()[0] == 2


def test_description(trained):
    model, parallel = trained
    lines = parallel.describe(model).splitlines()
    (kernel,) = [line for line in lines if line.startswith("moe/feed_forward_experts/kernel_in")]
    assert kernel.split() == [
        *("moe/feed_forward_experts/kernel_in", "8", "x", "16", "x", "32"),
        *("expert,", "whole,", "whole", f"{2 * 16 * 32 * 4:,}", f"{8 * 16 * 32 * 4:,}"),
    ]
    assert lines[-1].startswith("all on the mesh expert=4")
    layouts = parallel.layouts(model)
    assert lines[-1].split()[-1] == f"{sum(layout.bytes_in_all for layout in layouts):,}"
    assert len(lines) == len(layouts) + 3


def test_a_description_before_anything_is_placed():
    model, parallel = compiled(functional), ExpertParallel("expert=4")
    assert "expert, whole, whole" in parallel.describe(model)
    assert isinstance(mixture_of(model).experts.kernel_in._value, tf.Variable)


def test_rules():
    model = compiled(functional)
    parallel = ExpertParallel("batch=2,expert=2", rules={"dense/kernel": ("expert", None)})
    expected = train(compiled(functional), 3)
    parallel.distribute(model)
    np.testing.assert_allclose(train(model, 3), expected, rtol=0, atol=1e-5)
    assert parts_of(model.layers[-1].kernel) == {(8, VOCABULARY)}
    slots = [v for v in model.optimizer.variables if "dense_kernel" in v.path]
    assert [parts_of(slot) for slot in slots] == [{(8, VOCABULARY)}] * 2


def test_values_travel_to_the_mesh_and_back():
    mesh = make_mesh("batch=2,expert=4")
    value = np.arange(2 * 3 * 8).reshape(2, 3, 8).astype("float32")
    for axes in (["batch", None, "expert"], [None, None, "batch"], [None] * 3):
        layout = dtensor.Layout([axis or dtensor.UNSHARDED for axis in axes], mesh)
        tensor = to_mesh(value, layout)
        assert dtensor.fetch_layout(tensor) == layout
        np.testing.assert_array_equal(to_host(tensor), value)


def test_a_model_is_built_in_place():
    """Each weight is computed, placed and forgotten; values and slots are as ever."""
    expected = compiled(functional)

    def make():
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        return functional()

    model = ExpertParallel("expert=4").build(make)
    assert parts_of(mixture_of(model).experts.kernel_in) == {(2, 16, 32)}
    for variable, other in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy(), err_msg=variable.path)
    model.compile(keras.optimizers.Adam(1e-2), expected.loss, weighted_metrics=["accuracy"])
    np.testing.assert_allclose(train(model, 3), train(expected, 3), rtol=0, atol=1e-5)
    slots = [v for v in model.optimizer.variables if "experts_kernel_in" in v.path]
    assert [parts_of(slot) for slot in slots] == [{(2, 16, 32)}] * 2


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_regularizer": tf.reduce_max},
        {"kernel_constraint": lambda kernel: kernel - tf.reduce_mean(kernel)},
    ],
    ids=["regularizer", "constraint"],
)
def test_regularizers_and_constraints_of_ones_own_see_each_expert(options):
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")

    def fitted(context):
        keras.utils.set_random_seed(0)
        experts = FeedForwardExperts(4, 6, **options)
        model = keras.Sequential([keras.Input((5,)), MoE(SoftmaxRouter(), experts)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        with context(model):
            losses = model.fit(x, x, batch_size=8, epochs=2, verbose=0).history["loss"]
        return losses, model.get_weights()

    found, expected = map(fitted, (ExpertParallel("expert=2").distributed, contextlib.nullcontext))
    for value, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


# === What devices send ===


def collectives_of(mesh, **options):
    model = compiled(functional)
    ExpertParallel(mesh, **options).distribute(model)
    with record_collectives() as found:
        train(model, 1)
    return found


@pytest.mark.slow
def test_tokens_travel_to_experts_all_to_all():
    found = collectives_of("expert=4")
    moved = [x for x in found if x.op == "CollectiveAllToAllV2"]
    # There and back, forward and in the gradient: each device's G/4 groups of E x C slots of D.
    capacity = GROUP // 8  # at a factor of 1 and one choice, but at least 4
    slots = (BATCH * LENGTH // GROUP // 4) * 8 * max(capacity, 4) * 16
    assert [x.bytes for x in moved] == [4 * slots] * 4
    others = [x for x in found if x.op != "CollectiveAllToAllV2" and "moe" in x.name]
    gathered = [x.bytes for x in others if "gradient" not in x.name]
    # Nothing as wide as tokens is gathered or added up: one number of each choice, and sums.
    assert max(gathered) <= BATCH * LENGTH * 8
    assert not [x for x in others if 16 in x.shape[1:] and len(x.shape) > 2]


@pytest.mark.slow
def test_a_whole_batch_needs_no_all_to_all():
    found = collectives_of("expert=4", batch_axis=None)
    assert found
    assert not [x for x in found if x.op == "CollectiveAllToAllV2"]
