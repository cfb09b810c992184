"""The estimated cost of a step on a mesh, against what is measured."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.distribution import ExpertParallel, estimate, smallest_mesh
from moe_zoo.distribution.collectives import record_collectives
from moe_zoo.distribution.layouts import expert_variables
from moe_zoo.distribution.optimizer import optimizer_slots
from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, SwitchRouter

BATCH, LENGTH, WIDTH, HIDDEN, EXPERTS = 8, 15, 13, 17, 12
TOKENS = BATCH * LENGTH
SIZES = dict(
    num_layers=2, num_experts=EXPERTS, width=WIDTH, hidden_dim=HIDDEN, top_k=2, tokens=TOKENS,
    capacity_factor=1.5, other_parameters=1000,
)  # fmt: skip


def measured(mesh, router, experts, layers, group_size=None, optimizer="adam", **options):
    """A step of a model on a mesh: its layouts, its variables and its collectives."""
    inputs = keras.Input((LENGTH, WIDTH))
    x = keras.layers.Dense(WIDTH)(inputs)
    for _ in range(layers):
        x = keras.layers.Add()([x, MoE(router(), experts(EXPERTS, HIDDEN), group_size)(x)])
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    model.compile(optimizer, "mse")
    parallel = ExpertParallel(mesh, **options)
    parallel.distribute(model)
    x, y = np.ones((BATCH, LENGTH, WIDTH)), np.ones((BATCH, LENGTH, 3))
    with record_collectives() as found:
        model.fit(x, y, batch_size=BATCH, verbose=0)
    return model, parallel, found


def held(model, parallel):
    """Bytes on one device: experts' weights and slots, the others' weights and slots."""
    experts = {id(variable) for variable in expert_variables(model)}
    slots = {id(slot): id(variable) for slot, variable in optimizer_slots(model)}
    trainable = {id(variable) for variable in model.trainable_variables}
    total = dict.fromkeys(
        ["expert_weights", "expert_optimizer", "other_weights", "other_optimizer"], 0
    )
    for variable, _, _ in (layouts := parallel.layouts(model)):
        owner = slots.get(id(variable), id(variable))
        if owner in trainable:
            name = "expert" if owner in experts else "other"
            name += "_optimizer" if id(variable) in slots else "_weights"
            part = dtensor.unpack(variable._value.read_value())[0]
            total[name] += part.shape.num_elements() * part.dtype.size
    by_layouts = sum(
        layout.bytes_per_device
        for layout in layouts
        if slots.get(id(layout.variable), id(layout.variable)) in trainable
    )
    assert sum(total.values()) == by_layouts
    return total


def given(found):
    """Bytes that one device gives: all-to-all, gathers, and sums of gradients."""
    sent = dict(all_to_all=0, all_gather=0, all_reduce=0)
    for collective in found:
        if collective.kind != "all-reduce" or "gradient_tape" in collective.name:
            sent[collective.kind.replace("-", "_")] += collective.bytes
    return sent


def switch():
    return SwitchRouter(capacity_factor=1.5, seed=1)


def gshard():
    return GShardRouter(capacity_factor=1.5, seed=1)


@pytest.mark.parametrize(
    ("mesh", "router", "gated", "layers", "options"),
    [
        ("expert=2", switch, False, 1, {"group_size": 30}),
        pytest.param("batch=4", switch, True, 1, {}, marks=pytest.mark.slow),
        pytest.param("expert=4", switch, False, 2, {"optimizer": "lion"}, marks=pytest.mark.slow),
        pytest.param("expert=4", gshard, True, 1, {"group_size": 5}, marks=pytest.mark.slow),
        pytest.param(
            *("expert=4", switch, False, 1, {"batch_axis": None, "group_size": 7}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("batch=2,expert=4", gshard, False, 2, {"group_size": 15}), marks=pytest.mark.slow
        ),
    ],
)
def test_an_estimate_is_what_is_measured(mesh, router, gated, layers, options):
    options = dict(options)
    experts = GatedExperts if gated else FeedForwardExperts
    model, parallel, found = measured(mesh, router, experts, layers, **options)
    stacked = sum(int(np.prod(v.shape)) for v in expert_variables(model))
    optimizer = options.pop("optimizer", "adam")
    cost = estimate(
        mesh,
        num_layers=layers,
        num_experts=EXPERTS,
        width=WIDTH,
        hidden_dim=HIDDEN,
        top_k=router().top_k,
        capacity_factor=1.5,
        tokens=TOKENS,
        other_parameters=sum(int(np.prod(v.shape)) for v in model.trainable_variables) - stacked,
        gated=gated,
        use_bias=not gated,
        optimizer_slots={"adam": 2, "lion": 1}[optimizer],
        **options,
    )
    for name, value in {**held(model, parallel), **given(found)}.items():
        assert getattr(cost, name) == value, name
    assert cost.expert_gradients == cost.expert_weights
    assert cost.other_gradients == cost.other_weights


def test_in_mixed_precision_half_as_much_travels():
    """Weights and their gradients' sums stay float32; 2 bytes of each value in a slot travel."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    _, _, found = measured("expert=2", switch, FeedForwardExperts, 1)
    sizes = SIZES | dict(num_layers=1, top_k=1)
    cost = estimate("expert=2", activation_bytes=2, **sizes)
    assert given(found)["all_to_all"] == cost.all_to_all
    assert 2 * cost.all_to_all == estimate("expert=2", **sizes).all_to_all
    moved = [x.dtype for x in found if x.op == "CollectiveAllToAllV2"]
    assert moved == [tf.bfloat16] * 4


def test_activations_of_a_device():
    """120 tokens in 4 groups of 30; ceil(1.5 * 2 * 30 / 12) = 8 slots; 3 experts of 4 groups."""
    rows = 3 * 4 * 8
    cost = estimate("expert=4", group_size=30, **SIZES)
    assert cost.activations == 2 * rows * (2 * WIDTH + HIDDEN) * 4
    gated = estimate("expert=4", group_size=30, gated=True, **SIZES)
    assert gated.activations == 2 * rows * (2 * WIDTH + 3 * HIDDEN) * 4
    # Twice as many devices, of which each has the slots of half the groups.
    wider = estimate("batch=2,expert=4", group_size=30, **SIZES)
    assert (wider.devices, wider.activations) == (8, cost.activations // 2)
    # G/n * E * C * D values, four times a layer; 3 of 4 parts leave the device.
    assert cost.all_to_all == 2 * 4 * (1 * 12 * 8 * WIDTH) * 4
    assert cost.all_to_all_leaving == cost.all_to_all * 3 // 4


def test_one_device_sends_nothing():
    cost = estimate("expert=1", **SIZES)
    assert (cost.all_to_all, cost.all_gather, cost.all_reduce) == (0, 0, 0)


def test_the_smallest_mesh_is_the_first_that_fits():
    costs = [estimate(f"expert={n}", **SIZES) for n in (1, 2, 4)]
    for cost in costs:
        assert smallest_mesh(cost.state, **SIZES) == cost
    with pytest.raises(ValueError, match=r"bytes on expert=4, .* Received: memory=16,000"):
        smallest_mesh(16_000, **SIZES)


def test_sizes_may_be_larger_than_those_of_a_tensor():
    other = 3 * 2**31
    cost = smallest_mesh(120 * 2**30, **{**SIZES, "other_parameters": other})
    assert (cost.mesh, cost.other_weights) == ("expert=1", 4 * other)  # 96 GiB with Adam's state


@pytest.mark.parametrize(
    ("mesh", "options", "words"),
    [
        ("expert=5", {}, "expert=5 divides. Received: num_experts=12. Change"),
        ("expert=4", {"num_layers": 0}, "Received: num_layers=0. Give"),
        ("expert=4", {"width": 1.5}, "Received: width=1.5. Give"),
        ("expert=4", {"other_parameters": -1}, "Received: other_parameters=-1. Give"),
        ("expert=4", {"top_k": 13}, "as experts, 12. Received: top_k=13. Lower"),
        ("expert=4", {"capacity_factor": None}, "Received: capacity_factor=None. A mesh needs"),
        ("expert=4", {"capacity_factor": np.inf}, "Received: capacity_factor=inf. A mesh needs"),
        ("expert=4", {"tokens": 121}, "Received: tokens=121. Change the batch"),
        ("expert=4", {"group_size": 7}, "which are 30. Received: group_size=7. Change"),
        ("expert=4", {"group_size": 0}, "Received: group_size=0. Give"),
        ("model=4", {}, "axes batch and expert. Received: mesh='model=4'. Rename"),
        ("expert=4", {"batch_axis": "batch"}, "Received: batch_axis='batch'. 'auto'"),
        ("expert=x", {}, "Received: mesh='expert=x'"),
    ],
)
def test_bad_sizes_are_refused(mesh, options, words):
    with pytest.raises(ValueError, match=".*") as caught:
        estimate(mesh, **{**SIZES, **options})
    assert words in str(caught.value)
