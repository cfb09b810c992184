"""Layers for several tasks against the papers: outputs row by row, and every gradient.

Gradients are compared with central differences of the slow references.
"""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.gates import SoftmaxGate
from moe_zoo.layers import CGC, PLE, CrossStitch, MMoE, SharedBottom, SingleTask
from reference import moe as reference
from reference import tasks as reference_tasks

B, D, T, E, H, U = 5, 7, 3, 4, 3, 2
OWN, SHARED = 2, 3  # experts of a task and of all


def built(layer):
    """The layer with weights from N(0, 1/2), biases too; by name, relative to the layer."""
    layer.build((None, D))
    rng = np.random.default_rng(4)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return {w.path.split("/", 1)[1]: w for w in layer.trainable_weights}


def stack(w, prefix, count, numbers=None):
    """The experts under a name, of all of their layers or those of some numbers."""
    if numbers is None:
        numbers = range(sum(1 for name in w if name.startswith(f"{prefix}kernel_")))
    return [
        partial(
            reference_tasks.mlp,
            layers=[(w[f"{prefix}kernel_{i}"][e], w[f"{prefix}bias_{i}"][e]) for i in numbers],
        )
        for e in range(count)
    ]


def gates(kernels):
    return [partial(reference_tasks.softmax_gate, kernel=kernel) for kernel in kernels]


def ple_levels(w, levels):
    found = []
    for n in range(levels):
        own = [stack(w, f"level_{n}/task_{t}_experts/", OWN) for t in range(T)]
        (shared_gate,) = gates(w.get(f"level_{n}/shared_gate/kernel_0", ())) or [None]
        found.append(
            (
                own,
                stack(w, f"level_{n}/shared_experts/", SHARED),
                gates(w[f"level_{n}/gate/kernel_0"]),
                shared_gate,
            )
        )
    return found


def slow_mmoe(x, w):
    return reference_tasks.mmoe(x, stack(w, "experts/", E), gates(w["gate/kernel_0"]))


def slow_mixed(x, w):
    """Experts of two forms: two of one hidden layer, then two with a linear output."""
    names = ("kernel_in", "bias_in", "kernel_out", "bias_out")
    weights = [[w[f"experts/ffn/{name}"][e] for name in names] for e in range(2)]
    both = stack(w, "experts/mlp/", 2)
    both += [lambda x, ws=ws: reference.feed_forward(x, *ws, reference.relu) for ws in weights]
    return reference_tasks.mmoe(x, both, gates(w["gate/kernel_0"]))


def slow_deep_gate(x, w):
    def gate(x, t):
        hidden = reference.relu(x @ w["gate/kernel_0"][t] + w["gate/bias_0"][t])
        return reference.softmax((hidden @ w["gate/kernel_1"][t] + w["gate/bias_1"][t]) / 0.5)

    return reference_tasks.mmoe(x, stack(w, "experts/", E), [partial(gate, t=t) for t in range(T)])


def experts(count=E, name="experts"):
    return MLPExperts(count, (H, U), name=name)


def softmax_gate(**kwargs):
    return SoftmaxGate(name="gate", **kwargs)


def mixed():
    parts = [MLPExperts(2, (U,), name="mlp"), FeedForwardExperts(2, H, U, name="ffn")]
    return HeterogeneousExperts(parts, name="experts")


CASES = {
    "mmoe": (lambda: MMoE(experts(), softmax_gate(), num_tasks=T), slow_mmoe),
    "mixed_experts": (lambda: MMoE(mixed(), softmax_gate(), num_tasks=T), slow_mixed),
    "deep_gate": (
        lambda: MMoE(
            experts(), softmax_gate(hidden_dims=(3,), temperature=0.5, use_bias=True), num_tasks=T
        ),
        slow_deep_gate,
    ),
    "omoe": (
        lambda: MMoE(experts(), softmax_gate(), shared_gate=True, num_tasks=T),
        lambda x, w: np.repeat(slow_mmoe(x, w), T, 0),
    ),
    "cgc": (
        lambda: CGC(MLPExperts(OWN, (U,)), MLPExperts(SHARED, (U,)), num_tasks=T),
        lambda x, w: reference_tasks.ple(x, ple_levels(w, 1)),
    ),
    "ple": (
        lambda: PLE(MLPExperts(OWN, (U,)), MLPExperts(SHARED, (U,)), levels=3, num_tasks=T),
        lambda x, w: reference_tasks.ple(x, ple_levels(w, 3)),
    ),
    "shared_bottom": (
        lambda: SharedBottom((H, U), num_tasks=T),
        lambda x, w: np.stack([stack(w, "", 1)[0](x)] * T),
    ),
    "single_task": (
        lambda: SingleTask((H, U), num_tasks=T),
        lambda x, w: np.stack([network(x) for network in stack(w, "", T)]),
    ),
    "cross_stitch": (
        lambda: CrossStitch((H, U), num_tasks=T),
        lambda x, w: reference_tasks.cross_stitch(
            x, [stack(w, "", T, [i]) for i in range(2)], [w["stitch_0"], w["stitch_1"]]
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_all_gradients(name):
    make, slow = CASES[name]
    layer = make()
    variables = built(layer)
    rng = np.random.default_rng(3)
    rows, upstream = rng.normal(size=(B, D)), rng.normal(size=(B, T, U))
    x = tf.constant(rows, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)
        loss = tf.reduce_sum(outputs * tf.constant(upstream, tf.float32))
    gradients = tape.gradient(loss, {"rows": x, **variables})

    values = {path: v.numpy().astype(np.float64) for path, v in variables.items()}
    expected = np.stack([slow(row, values) for row in rows])
    assert outputs.shape == layer.compute_output_shape((B, D)) == (B, T, U)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1

    def total(rows, weights):
        return sum(np.sum(slow(row, weights) * up) for row, up in zip(rows, upstream, strict=True))

    for path, gradient in gradients.items():
        if path == "rows":
            theirs = reference.numerical_gradient(lambda r: total(r, values), rows)
        else:
            theirs = reference.numerical_gradient(
                lambda value, path=path: total(rows, {**values, path: value}), values[path]
            )
        np.testing.assert_allclose(gradient, theirs, rtol=1e-3, atol=2e-4, err_msg=path)


def test_ple_of_one_level_is_cgc():
    parts = [MLPExperts(n, (U,), kernel_initializer=keras.initializers.HeNormal(3)) for n in (2, 3)]
    gate = softmax_gate(kernel_initializer=keras.initializers.HeNormal(5))
    x = keras.random.normal((B, D), seed=1)
    np.testing.assert_array_equal(
        CGC(*parts, gate, num_tasks=T)(x), PLE(*parts, 1, gate, num_tasks=T)(x)
    )


def test_the_papers_setting_has_its_number_of_weights():
    # Ma et al., section 5.1: 100 inputs, 8 experts of 16 units, 2 towers of 8 units on top; weights
    # in experts and towers are 100 * 16 * 8 + 16 * 8 * 2, and a shared bottom of w units with the
    # same towers has 100 w + w * 8 * 2.
    weights = 100 * 16 * 8 + 16 * 8 * 2
    assert weights == 13056
    width = round(weights / (100 + 8 * 2))
    assert width == 113

    def count(mixing, of):
        mixing.build((None, 100))
        units = mixing.compute_output_shape((None, 100))[-1]
        return sum(w.shape.num_elements() for w in of(mixing)) + 2 * units * 8

    mmoe = MMoE(MLPExperts(8, (16,), use_bias=False), num_tasks=2)
    assert count(mmoe, lambda layer: layer.experts.trainable_weights) == weights
    bottom = SharedBottom((width,), use_bias=False, num_tasks=2)
    found = count(bottom, lambda layer: layer.trainable_weights)
    assert abs(found - weights) <= (100 + 8 * 2) / 2  # no other width is nearer
