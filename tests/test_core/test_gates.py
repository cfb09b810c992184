"""Gates: against the papers, dropout, losses, arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import MLPExperts
from moe_zoo.gates import DSelectKGate, Gate, NoisyTopKGate, SoftmaxGate
from moe_zoo.gates.dselect_k import select_by_code, smooth_step
from moe_zoo.gates.gate import drop_experts
from moe_zoo.layers import MMoE
from reference import moe as reference
from reference import tasks as reference_tasks

B, D, T, E, K = 7, 5, 3, 6, 2  # 6 experts need 3 bits, of whose 8 codes 2 select none
SIZES = {"num_tasks": T, "num_experts": E}
GATES = [SoftmaxGate, NoisyTopKGate, DSelectKGate]


def built(gate, spread=1.0):
    """The gate with weights from N(0, spread)."""
    gate.build((None, D))
    rng = np.random.default_rng(4)
    for weight in gate.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * spread)
    return gate


def rows(count=B):
    return np.random.default_rng(3).normal(size=(count, D))


def gradients(gate, x, upstream):
    """Of the gates' products with `upstream` plus all losses, by weight."""
    with tf.GradientTape() as tape:
        result = gate(tf.constant(x, tf.float32), training=True)
        total = tf.reduce_sum(result.gates * upstream.astype("float32"))
        total += tf.add_n([*result.losses.values(), tf.constant(0.0)])
    return tape.gradient(total, gate.trainable_weights)


# === DSelect-k ===


@pytest.mark.parametrize("spread", [0.02, 0.3])  # within the step, and partly beyond it
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_dselect_k_and_its_gradients(spread, gamma):
    gate = DSelectKGate(K, gamma, entropy_loss_weight=0.1, reach_loss_weight=0.01, **SIZES)
    built(gate, spread)
    x, upstream = rows(), np.random.default_rng(5).normal(size=(B, T, E))
    kernel = gate.trainable_weights[0].numpy().astype(np.float64)  # [T, D, K + K * 3]

    def slow(kernel):
        gates, loss = np.zeros((B, T, E)), 0.0
        for b, t in np.ndindex(B, T):
            logits = x[b] @ kernel[t]
            alpha, codes = logits[:K], logits[K:].reshape(K, 3)
            gates[b, t] = reference_tasks.dselect_k(alpha, codes, E, gamma)
            for code in codes:
                selected = reference_tasks.selector(code, E, gamma)
                loss += 0.1 * reference_tasks.entropy(selected) / B
                loss += 0.01 / (sum(selected) + 1e-6) / B
        return gates, loss

    result = gate(tf.constant(x, tf.float32), training=True)
    gates, loss = slow(kernel)
    np.testing.assert_allclose(result.gates, gates, atol=1e-5)
    assert float(sum(result.losses.values())) == pytest.approx(loss, rel=1e-4)
    (ours,) = gradients(gate, x, upstream)

    def total(value):
        gates, loss = slow(value)
        return np.sum(gates * upstream) + loss

    expected = reference.numerical_gradient(total, kernel)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


def test_dselect_k_beyond_its_step_takes_at_most_k_experts():
    gate = built(DSelectKGate(K, num_tasks=T, num_experts=8), spread=100.0)
    gates = gate(tf.constant(rows(), tf.float32)).gates.numpy()
    taken = (gates > 0).sum(-1)
    assert taken.max() == K and taken.min() >= 1  # two selectors may agree
    np.testing.assert_allclose(gates.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.7, 1.0, 3.0])
def test_dselect_k_is_one_hot_beyond_its_step_whatever_its_width(gamma):
    ends = np.linspace(0.99, 1.01, 100_001) * gamma / 2
    steps = smooth_step(tf.constant([-ends, ends], tf.float32), gamma).numpy()
    assert (steps >= 0).all() and (steps <= 1).all()  # else their entropy is NaN
    beyond = steps[:, ends > gamma / 2 * 1.0001]
    np.testing.assert_array_equal(beyond, np.repeat([[0.0], [1.0]], beyond.shape[1], 1))
    codes = tf.constant([[5.0, -5.0, 5.0]]) * gamma
    np.testing.assert_array_equal(select_by_code(codes, 8, gamma), np.eye(8)[[0b101]])


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_dselect_k_starts_even_and_counts_all_codes(count):
    # All steps start half way: each expert gets 1 / 2^m, with m bits for the experts.
    gate = DSelectKGate(1, num_tasks=T, num_experts=count)
    gates = gate(tf.constant(rows() / 10, tf.float32)).gates
    bits = int(np.ceil(np.log2(count)))
    # A step is 0.5 +- 1.5 |z|, and |z| at most 0.01 times the sum of |x|, which is below 1 here.
    np.testing.assert_allclose(gates, np.full((B, T, count), 0.5**bits), rtol=1.03**3 - 1)


def test_dselect_k_without_rows_is_the_same_for_each_row():
    gate = DSelectKGate(K, per_example=False, **SIZES)
    gates = gate(tf.constant(rows(), tf.float32)).gates.numpy()
    np.testing.assert_array_equal(gates, np.repeat(gates[:1], B, 0))
    assert gate.trainable_weights[0].shape == (T, 1, K + K * 3)
    with pytest.raises(ValueError, match="hidden layers. Received: per_example=False"):
        DSelectKGate(K, per_example=False, hidden_dims=(3,))


# === Noisy top-k ===


def test_noisy_top_k_and_its_gradients():
    gate = built(NoisyTopKGate(K, 0.2, 0.3, seed=6, **SIZES), 0.5)
    twin = keras.random.SeedGenerator(6)
    draw = tf.random.stateless_normal((T, B, E), twin.next()).numpy().astype(np.float64)
    x, upstream = rows(), np.random.default_rng(5).normal(size=(B, T, E))
    kernels = [w.numpy().astype(np.float64) for w in gate.trainable_weights]

    def slow(kernel, noise_kernel):
        gates, importance, load = np.zeros((B, T, E)), np.zeros(E), np.zeros(E)
        for b, t in np.ndindex(B, T):
            weights = kernel[t], noise_kernel[t]
            clean, noisy, stddev = reference.noisy_logits(x[b], *weights, draw[t, b])
            gates[b, t] = reference.noisy_top_k_gates(noisy, K)
            importance += gates[b, t]
            load += reference.load_probability(clean, noisy, stddev, K)
        loss = 0.2 * reference.cv_squared(importance) + 0.3 * reference.cv_squared(load)
        return gates, loss

    ours = gradients(gate, x, upstream)
    gates, _ = slow(*kernels)
    gate.seed_generator.state.assign(keras.random.SeedGenerator(6).state)
    result = gate(tf.constant(x, tf.float32), training=True)
    np.testing.assert_allclose(result.gates, gates, atol=1e-5)
    for i, gradient in enumerate(ours):

        def total(value, i=i):
            gates, loss = slow(*[value if i == j else k for j, k in enumerate(kernels)])
            return np.sum(gates * upstream) + loss

        expected = reference.numerical_gradient(total, kernels[i])
        np.testing.assert_allclose(gradient, expected, rtol=2e-3, atol=1e-3)


def test_noisy_top_k_has_no_noise_in_evaluation():
    gate = built(NoisyTopKGate(K, **SIZES))
    x = tf.constant(rows(), tf.float32)
    one, two = gate(x), gate(x)
    np.testing.assert_array_equal(one.gates, two.gates)
    assert not one.losses and (one.gates.numpy() > 0).sum() == B * T * K
    assert np.any(gate(x, training=True).gates != gate(x, training=True).gates)


# === Temperature and dropout ===


def test_temperature_divides_the_logits():
    x = tf.constant(rows(), tf.float32)
    warm = built(SoftmaxGate(temperature=2.0, **SIZES))(x)
    logits = np.einsum("bd,tde->bte", rows(), built(SoftmaxGate(**SIZES)).trainable_weights[0])
    np.testing.assert_allclose(warm.gates, tf.nn.softmax(logits / 2.0), atol=1e-5)


@pytest.mark.parametrize("gate_class", GATES)
def test_dropout_is_one_mask_for_a_batch_and_only_in_training(gate_class):
    gate = built(gate_class(dropout=0.4, seed=2, **SIZES))
    plain = built(gate_class(**SIZES))
    x = tf.constant(rows(101), tf.float32)
    np.testing.assert_array_equal(gate(x).gates, plain(x).gates)
    masks = []
    for _ in range(5):
        gates = gate(x, training=True).gates.numpy()
        used = (gates > 0).any(0)  # [T, E]
        masks.append(used)
        assert used.any(-1).all()
        if gate_class is SoftmaxGate:
            np.testing.assert_array_equal(gates > 0, np.broadcast_to(used, gates.shape))
            expected = plain(x).gates.numpy() * used
            expected /= expected.sum(-1, keepdims=True)
            np.testing.assert_allclose(gates, expected, rtol=1e-4)
            np.testing.assert_allclose(gates.sum(-1), 1.0, rtol=1e-5)
    assert len({mask.tobytes() for mask in masks}) > 1
    assert any(len(np.unique(mask, axis=0)) > 1 for mask in masks)  # tasks have their own


def test_dropout_never_leaves_a_task_without_experts():
    even = tf.fill([2, 50, 3], 1 / 3)  # 50 tasks: all three of most of them are drawn out
    gates = drop_experts(even, rate=0.99, seed=[1, 2]).numpy()
    np.testing.assert_allclose(gates.sum(-1), 1.0, rtol=1e-6)
    assert ((gates > 0).sum(-1) == 1).mean() > 0.9
    one_hot = tf.one_hot([[0] * 50], 3)  # rows whose only expert is left out take the kept ones
    gates = drop_experts(one_hot, rate=0.5, seed=[1, 2]).numpy()
    np.testing.assert_allclose(gates.sum(-1), 1.0, rtol=1e-6)
    assert (gates[0, :, 0] == 0).any()
    kept = np.mean(drop_experts(tf.fill([1, 5000, 8], 1 / 8), 0.3, [1, 2]).numpy() > 0)
    assert abs(kept - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 40_000)  # all eight are hardly ever drawn


# === Precision, arguments ===


@pytest.mark.parametrize("gate_class", GATES)
def test_gates_are_float32_under_every_policy(gate_class):
    keras.config.set_dtype_policy("mixed_float16")
    gate = gate_class(**SIZES)
    assert gate(tf.constant(rows(), tf.float16)).gates.dtype == "float32"
    assert {w.dtype for w in gate.trainable_weights} == {"float32"}


@pytest.mark.parametrize("gate_class", GATES)
def test_configuration_holds_every_argument(gate_class):
    changed = {"hidden_dims": (3, 2), "temperature": 0.5, "dropout": 0.25, "use_bias": True}
    changed |= {"seed": 9, **SIZES}
    if gate_class is not SoftmaxGate:
        changed["top_k"] = 3
    if gate_class is NoisyTopKGate:
        changed |= {"importance_loss_weight": 0.5, "load_loss_weight": 0.0}
    if gate_class is DSelectKGate:
        changed |= {"gamma": 0.5, "entropy_loss_weight": 0.5, "reach_loss_weight": 0.0}
    gate = gate_class(kernel_initializer="he_normal", **changed)
    config = gate_class.from_config(gate.get_config()).get_config()
    assert {name: config[name] for name in changed} == changed
    assert config["kernel_initializer"]["class_name"] == "HeNormal"
    assert config["num_tasks"] == T and tuple(gate(tf.zeros([0, D])).gates.shape) == (0, T, E)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: SoftmaxGate(temperature=0), "above 0. Received: temperature=0"),
        (lambda: SoftmaxGate(dropout=1.0), r"rate in \[0, 1\). Received: dropout=1.0"),
        (lambda: SoftmaxGate(hidden_dims=(3, 0)), "whole number.*hidden_dims=0"),
        (lambda: SoftmaxGate(hidden_dims="3"), "sizes. Received: hidden_dims='3'"),
        (lambda: NoisyTopKGate(0), "whole number of at least 1. Received: top_k=0"),
        (lambda: NoisyTopKGate(load_loss_weight=-1), "at least 0.0. Received: load_loss_weight=-1"),
        (lambda: DSelectKGate(gamma=-1.0), "above 0. Received: gamma=-1.0"),
        (lambda: SoftmaxGate().build((None, 3)), "Received: num_tasks=None, num_experts=None"),
        (
            lambda: MMoE(MLPExperts(3), NoisyTopKGate(5), num_tasks=2),
            "top_k <= num_experts. Received: top_k=5, num_experts=3",
        ),
        (
            lambda: MMoE(MLPExperts(3), SoftmaxGate(num_tasks=4), num_tasks=2),
            "Expected a gate for num_tasks=2 and num_experts=3. Received.*num_tasks=4",
        ),
        (
            lambda: Gate(num_tasks=1, num_experts=2).num_logits(),
            r"Gate has to define num_logits\(\)",
        ),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises((ValueError, NotImplementedError), match=words):
        make()


def test_a_number_that_is_not_finite_names_the_gate():
    gate = SoftmaxGate(name="my_gate", **SIZES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="The gate 'my_gate' computed a logit"):
        gate(tf.fill([2, D], np.nan))


def test_probabilities_of_codes_that_miss_experts_sum_to_one():
    """At the start codes of 3 bits lie half way, so that 3 of 8 reach none of 5 experts."""
    gate = DSelectKGate(2, num_tasks=2, num_experts=5, seed=1)
    found = gate(np.random.default_rng(0).normal(size=(7, 3)).astype("float32"))
    assert np.all(np.sum(found.gates, -1) < 0.7)
    np.testing.assert_allclose(np.sum(found.probabilities, -1), 1.0, rtol=1e-5)
