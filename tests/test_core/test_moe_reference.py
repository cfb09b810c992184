"""The MoE layer against the papers: outputs token by token, and every gradient.

Outputs are compared with loops over tokens. Gradients are compared with those of the textbook's
one-hot einsum in float64, which takes the reference's decisions and differentiates the gates;
gradients of auxiliary losses with central differences of the slow references.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from reference import moe as reference

B, T, D, E, F, OUT = 2, 17, 5, 7, 11, 3
GROUP = 13  # 34 tokens: groups of 13, 13 and 8
ROUTERS = {
    # name: class, its arguments, the reference's plan, K, whether gates are softmax of the chosen
    "switch": (SwitchRouter, {}, reference.switch_plan, 1, False),
    "switch_top_3": (SwitchRouter, {"top_k": 3}, reference.switch_plan, 3, False),
    "noisy_top_k": (NoisyTopKRouter, {"top_k": 2}, reference.noisy_top_k_plan, 2, True),
    "gshard": (GShardRouter, {"second_expert_policy": "all"}, reference.gshard_plan, 2, True),
    "threshold": (
        GShardRouter,
        {"second_expert_policy": "threshold", "second_expert_threshold": 0.3},
        lambda *args, **kwargs: reference.gshard_plan(
            *args, policy="threshold", threshold=0.3, **kwargs
        ),
        2,
        True,
    ),
}


def build(router, experts_class=FeedForwardExperts, group_size=None, **kwargs):
    """A layer whose every weight is drawn from N(0, 1/3), the noise kernel included."""
    layer = MoE(router, experts_class(E, F, output_dim=OUT, **kwargs), group_size)
    layer.build((None, None, D))
    rng = np.random.default_rng(4)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 3)
    return layer


def float64(variable):
    return None if variable is None else tf.constant(variable.numpy(), tf.float64)


def weights_of(layer):
    """The layer's variables by name, router's and experts'."""
    return {w.path.split("/", 1)[1]: w for w in layer.trainable_weights}


def inputs_and_mask(masked):
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(B, T, D)).astype(np.float32)
    return inputs, rng.random((B, T)) > 0.25 if masked else None


def in_groups(inputs, mask, size):
    """Tokens [G, S, D] and mask [G, S], the last group padded with masked tokens."""
    tokens = inputs.reshape(-1, D).astype(np.float64)
    real = np.ones(len(tokens), bool) if mask is None else mask.reshape(-1)
    if size is None:
        return tokens[None], real[None]
    missing = -len(tokens) % size
    tokens = np.concatenate([tokens, np.zeros((missing, D))]).reshape(-1, size, D)
    return tokens, np.concatenate([real, [False] * missing]).reshape(-1, size)


def chosen_experts(logits, top_k):
    """<bool>[G, S, E], the experts over which gates are normalized, sent there or not."""
    chosen = np.zeros(logits.shape, bool)
    for group, token in np.ndindex(logits.shape[:2]):
        chosen[group, token, reference.top(logits[group, token], top_k)] = True
    return chosen


def oracle(tokens, weights, plans, limit, chosen, draw, gated):
    """The one-hot einsum of all groups: [G, S, D] -> [G, S, OUT], differentiable, in float64."""
    one_hot = [reference.one_hot(plan, E, limit)[0] for plan in plans]
    dispatch = tf.constant(np.stack(one_hot))  # [G, S, E, C]
    logits = tokens @ weights["kernel"]
    if draw is not None:
        logits += draw * tf.math.softplus(tokens @ weights["noise_kernel"])
    if chosen is None:
        gates = tf.nn.softmax(logits)
    else:
        gates = tf.nn.softmax(tf.where(chosen, logits, -np.inf))
    slots = tf.einsum("gsec,gsd->egcd", dispatch, tokens)
    hidden = dense(slots, weights, "in")
    if gated:
        hidden *= tf.nn.silu(dense(slots, weights, "gate"))
    else:
        hidden = tf.nn.relu(hidden)
    outputs = dense(hidden, weights, "out")
    return tf.einsum("gsec,gse,egco->gso", dispatch, gates, outputs)


def dense(slots, weights, name):
    outputs = tf.einsum("egcd,edf->egcf", slots, weights[f"kernel_{name}"])
    bias = weights.get(f"bias_{name}")
    return outputs if bias is None else outputs + bias[:, None, None]


def expert_by_token(weights, gated):
    """The papers' expert e on one token."""
    w = {name: weight.numpy() for name, weight in weights.items()}

    def part(name, e):
        return w[f"kernel_{name}"][e], w.get(f"bias_{name}", np.zeros(E))[e]

    def compute(e, x):
        if gated:
            parts = (*part("gate", e), *part("in", e), *part("out", e))
            return reference.gated_feed_forward(x, *parts, reference.silu)
        return reference.feed_forward(x, *part("in", e), *part("out", e), reference.relu)

    return compute


@pytest.mark.parametrize("name", ROUTERS)
@pytest.mark.parametrize("factor", [0.6, 1.5, None])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("group_size", [None, GROUP])
def test_outputs_and_all_gradients(name, factor, masked, group_size):
    router_class, kwargs, slow_plan, top_k, renormalized = ROUTERS[name]
    gated = group_size is not None  # both forms of experts, without doubling the tests
    router = router_class(capacity_factor=factor, min_capacity=1, seed=6, **kwargs)
    router.jitter = 0.0
    layer = build(router, GatedExperts if gated else FeedForwardExperts, group_size)
    inputs, mask = inputs_and_mask(masked)
    upstream = np.random.default_rng(5).normal(size=(B, T, OUT))
    names = [path.split("/")[-1] for path in weights_of(layer)]
    variables = list(weights_of(layer).values())
    twin = keras.random.SeedGenerator(6)  # the router's noise, before it draws

    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=None if mask is None else tf.constant(mask), training=True)
        loss = tf.reduce_sum(outputs * tf.constant(upstream, tf.float32))
    gradients = tape.gradient(loss, [x, *variables])

    tokens, real = in_groups(inputs, mask, group_size)
    weights = {n: float64(v) for n, v in zip(names, variables, strict=True)}
    draw, logits = None, tokens @ weights["kernel"].numpy()
    if "noise_kernel" in weights:
        draw = tf.random.stateless_normal(logits.shape, twin.next()).numpy().astype(np.float64)
        logits = logits + draw * np.logaddexp(0, tokens @ weights["noise_kernel"].numpy())
    limits = [reference.capacity(int(r.sum()), E, top_k, factor) for r in real]
    top_ks = {"top_k": top_k} if router_class is SwitchRouter else {}
    plans = [
        slow_plan(rows, limit, r, **top_ks)
        for rows, limit, r in zip(logits, limits, real, strict=True)
    ]
    expert = expert_by_token(weights, gated)
    slow = [reference.moe(rows, plan, expert) for rows, plan in zip(tokens, plans, strict=True)]
    slow = np.concatenate(slow)[: B * T].reshape(B, T, OUT)
    np.testing.assert_allclose(outputs, slow, atol=2e-5)

    chosen = chosen_experts(logits, top_k) if renormalized else None
    x = tf.constant(inputs, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, *weights.values()])
        flat = tf.reshape(x, [-1, D])
        grouped = tf.reshape(tf.pad(flat, [[0, real.size - B * T], [0, 0]]), tokens.shape)
        textbook = oracle(grouped, weights, plans, max(limits), chosen, draw, gated)
        textbook = tf.reshape(tf.reshape(textbook, [-1, OUT])[: B * T], [B, T, OUT])
        loss = tf.reduce_sum(textbook * upstream)
    np.testing.assert_allclose(textbook, slow, atol=1e-12)
    expected = tape.gradient(loss, [x, *weights.values()])
    for what, ours, theirs in zip(["inputs", *names], gradients, expected, strict=True):
        theirs = np.zeros(ours.shape) if theirs is None else theirs
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=what)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("group_size", [None, GROUP])
def test_dense_mixture_outputs_and_all_gradients(masked, group_size):
    layer = build(SoftmaxRouter(), group_size=group_size)
    inputs, mask = inputs_and_mask(masked)
    upstream = np.random.default_rng(5).normal(size=(B, T, OUT))
    variables = weights_of(layer)
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=None if mask is None else tf.constant(mask), training=True)
        loss = tf.reduce_sum(outputs * tf.constant(upstream, tf.float32))
    gradients = tape.gradient(loss, [x, *variables.values()])

    weights = {path.split("/")[-1]: float64(v) for path, v in variables.items()}
    real = np.ones((B, T)) if mask is None else mask
    x = tf.constant(inputs, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, *weights.values()])
        gates = tf.nn.softmax(x @ weights["kernel"]) * real[..., None]
        hidden = tf.einsum("btd,edf->btef", x, weights["kernel_in"]) + weights["bias_in"]
        by_expert = tf.einsum("btef,efo->bteo", tf.nn.relu(hidden), weights["kernel_out"])
        textbook = tf.einsum("bte,bteo->bto", gates, by_expert + weights["bias_out"])
        loss = tf.reduce_sum(textbook * upstream)
    np.testing.assert_allclose(outputs, textbook, atol=2e-5)
    expected = tape.gradient(loss, [x, *weights.values()])
    for what, ours, theirs in zip(["inputs", *weights], gradients, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=what)


# === Auxiliary losses: values and gradients to the router ===


def slow_switch_loss(x, real, kernel):
    """0.01 E sum f P, averaged over the groups that hold tokens, plus 0.1 times the z-loss."""
    logits = [rows @ kernel for rows in x]
    used = [g for g in range(len(x)) if real[g].any()]
    probabilities = [np.array([reference.softmax(row) for row in rows]) for rows in logits]
    balance = np.mean([reference.balance_loss(probabilities[g], real[g]) for g in used])
    return 0.01 * balance + 0.1 * reference.z_loss(np.concatenate(logits), np.concatenate(real))


def slow_noisy_loss(x, real, kernel, noise_kernel, draw):
    """0.1 CV(Importance)^2 + 0.1 CV(Load)^2 + 0.1 times the z-loss, over all groups together."""
    importance, load = np.zeros(E), np.zeros(E)
    for g, s in np.argwhere(real):
        clean, noisy, stddev = reference.noisy_logits(x[g, s], kernel, noise_kernel, draw[g, s])
        importance += reference.noisy_top_k_gates(noisy, 2)
        load += reference.load_probability(clean, noisy, stddev, 2)
    z = reference.z_loss(np.concatenate([rows @ kernel for rows in x]), np.concatenate(real))
    return 0.1 * (reference.cv_squared(importance) + reference.cv_squared(load) + z)


@pytest.mark.parametrize("router_class", [SwitchRouter, GShardRouter, NoisyTopKRouter])
@pytest.mark.parametrize("group_size", [None, GROUP])
def test_auxiliary_losses_and_their_gradients(router_class, group_size):
    layer = build(router_class(z_loss_weight=0.1, seed=6), group_size=group_size)
    router = layer.router
    router.jitter = 0.0
    inputs, mask = inputs_and_mask(masked=True)
    twin = keras.random.SeedGenerator(6)
    with tf.GradientTape() as tape:
        layer(tf.constant(inputs), mask=tf.constant(mask), training=True)
        total = tf.add_n(layer.losses)
    gradients = tape.gradient(total, router.trainable_weights)

    x, real = in_groups(inputs, mask, group_size)
    kernels = [w.numpy().astype(np.float64) for w in router.trainable_weights]
    if router_class is NoisyTopKRouter:
        shape = (*real.shape, E)
        draw = tf.random.stateless_normal(shape, twin.next()).numpy().astype(np.float64)
        slow = [
            lambda w: slow_noisy_loss(x, real, w, kernels[1], draw),
            lambda w: slow_noisy_loss(x, real, kernels[0], w, draw),
        ]
    else:
        slow = [lambda w: slow_switch_loss(x, real, w)]
    assert float(total) == pytest.approx(slow[0](kernels[0]), rel=1e-4)
    for function, kernel, ours in zip(slow, kernels, gradients, strict=True):
        expected = reference.numerical_gradient(function, kernel, 1e-5)
        assert np.abs(expected).max() > 1e-4  # there is a gradient to the router
        np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-5)
