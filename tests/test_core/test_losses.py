"""Auxiliary losses: closed forms, the slow references, Monte Carlo, and finite gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo import losses
from reference import moe as reference

G, S, E = 2, 11, 5


def draw_logits(seed=0, groups=G, size=S, experts=E):
    return np.random.default_rng(seed).normal(size=(groups, size, experts)).astype(np.float32)


def value_and_gradient(function, x):
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return float(value), tape.gradient(value, x)


# === Closed forms ===


@pytest.mark.parametrize(
    "values, expected",
    [
        ([2.0, 2.0, 2.0], 0.0),
        ([1.0, 3.0], 0.25),  # variance 1, mean 2
        ([0.0, 0.0, 0.0, 8.0], 3.0),  # all load on one of E: E - 1
        ([0.0, 0.0], 0.0),  # no load at all
        ([7.0], 0.0),
    ],
)
def test_cv_squared(values, expected):
    assert float(losses.cv_squared(tf.constant(values))) == pytest.approx(expected)


def test_uniform_router_has_balance_loss_one():
    # f_e = P_e = 1/E: E * E * 1/E^2 = 1. Times Switch's alpha it is alpha. GShard's paper prints
    # 1/E sum_e (c_e / S) m_e = 1/E^2 instead: ours is E^2 times that, as the authors' code.
    probabilities = tf.fill([1, 2 * E, E], 1 / E)
    experts = tf.constant([list(range(E)) * 2])
    loss = float(losses.balance_loss(probabilities, experts))
    assert loss == pytest.approx(1.0)
    assert 0.01 * loss == pytest.approx(0.01)
    assert reference.gshard_loss(probabilities[0].numpy()) * E**2 == pytest.approx(loss)


def test_collapsed_router_has_balance_loss_of_the_number_of_experts():
    probabilities = tf.one_hot([[2] * S], E)  # f_2 = P_2 = 1
    assert float(losses.balance_loss(probabilities, tf.fill([1, S], 2))) == pytest.approx(E)


def test_z_loss_of_zero_logits():
    assert float(losses.z_loss(tf.zeros([G, S, E]))) == pytest.approx(math.log(E) ** 2)


def test_z_loss_is_finite_for_large_logits():
    # logsumexp(200, 0, ...) is 200 to seven digits, though exp(200) overflows float32.
    logits = tf.constant([[[200.0] + [0.0] * (E - 1)]])
    assert float(losses.z_loss(logits)) == pytest.approx(200.0**2)


# === Against the slow references ===


@pytest.mark.parametrize("masked", [False, True])
def test_losses_equal_the_references(masked):
    logits = draw_logits()
    mask = np.random.default_rng(1).random((G, S)) > 0.3 if masked else None
    real = [None] * G if mask is None else mask
    graph_mask = None if mask is None else tf.constant(mask)
    probabilities = np.array([[reference.softmax(row) for row in group] for group in logits])
    first = tf.constant(logits.argmax(-1))
    expected = np.mean(
        [reference.balance_loss(p, m) for p, m in zip(probabilities, real, strict=True)]
    )
    loss = losses.balance_loss(tf.constant(probabilities, tf.float32), first, graph_mask)
    assert float(loss) == pytest.approx(expected, rel=1e-5)

    flat_mask = None if mask is None else mask.reshape(-1)
    expected = reference.z_loss(logits.reshape(-1, E).astype(np.float64), flat_mask)
    assert float(losses.z_loss(tf.constant(logits), graph_mask)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("k", [1, 2, 4])
def test_importance_loss_equals_the_reference(k):
    logits = draw_logits(2)
    pairs = [reference.choose(group, reference.top_then_softmax, k) for group in logits]
    dense = np.array([reference.noisy_top_k_gates(row, k) for row in logits.reshape(-1, E)])
    expected = reference.cv_squared(reference.sum_of_real(dense))
    experts = tf.constant(np.array([pair[0] for pair in pairs]), tf.int32)
    gates = tf.constant(np.array([pair[1] for pair in pairs]), tf.float32)
    assert float(losses.importance_loss(gates, experts, E)) == pytest.approx(expected, rel=1e-5)


def noise(seed, shape):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), 0.3 + rng.random(shape).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_load_equals_the_reference(k, masked):
    clean = draw_logits(3)
    draws, stddev = noise(4, clean.shape)
    noisy = clean + draws * stddev
    ours = losses.selection_probability(*map(tf.constant, (clean, noisy, stddev)), k)
    slow = [
        reference.load_probability(*rows, k)
        for rows in zip(*(x.reshape(-1, E) for x in (clean, noisy, stddev)), strict=True)
    ]
    np.testing.assert_allclose(tf.reshape(ours, [-1, E]), slow, atol=1e-6)
    mask = np.random.default_rng(5).random((G, S)) > 0.3 if masked else None
    total = reference.sum_of_real(np.array(slow), None if mask is None else mask.reshape(-1))
    loss = losses.load_loss(ours, None if mask is None else tf.constant(mask))
    assert float(loss) == pytest.approx(reference.cv_squared(total), rel=1e-4, abs=1e-9)


def test_load_probability_is_what_redrawing_one_component_gives():
    # P(x, i): redraw the noise of component i alone and count how often i is among the top k.
    k, draws = 2, 20_000
    clean = draw_logits(6, 1, 3)
    first_draw, stddev = noise(7, clean.shape)
    noisy = clean + first_draw * stddev
    ours = losses.selection_probability(*map(tf.constant, (clean, noisy, stddev)), k)[0].numpy()
    rng = np.random.default_rng(8)
    for token, i in np.ndindex(3, E):
        others = np.delete(noisy[0, token], i)
        again = clean[0, token, i] + rng.normal(size=draws) * stddev[0, token, i]
        wins = (again[:, None] < others).sum(axis=1) < k
        p = ours[token, i]
        error = math.sqrt(p * (1 - p) / draws) + 1 / draws  # and one draw where p is 0 or 1
        assert abs(wins.mean() - p) <= 4 * error


@pytest.mark.parametrize("k", [3, 4])
def test_load_without_competition_is_one(k):
    # n <= k: every expert is always chosen; the threshold does not exist.
    logits = tf.constant(draw_logits(experts=3))
    chance = losses.selection_probability(logits, logits, tf.ones_like(logits), k)
    np.testing.assert_array_equal(chance, np.ones_like(chance))
    assert float(losses.load_loss(chance)) == 0.0


# === Masks ===


@given(st.integers(0, 2**32), st.integers(0, 7))
@settings(max_examples=15)
def test_padding_changes_no_loss(seed, padding):
    """Neither what stands in masked positions nor how many there are."""
    logits = draw_logits(seed)
    garbage = np.random.default_rng(seed).choice([np.nan, np.inf, -1e30], (G, padding, E))
    padded = np.concatenate([logits, garbage.astype(np.float32)], axis=1)
    mask = tf.constant(np.arange(S + padding) < S) & tf.ones([G, 1], tf.bool)
    first = padded.argmax(-1).astype(np.int32)
    for function in (
        lambda x, m: losses.z_loss(tf.constant(x), m),
        lambda x, m: losses.balance_loss(
            tf.nn.softmax(tf.constant(x)), tf.constant(first[:, : x.shape[1]]), m
        ),
        lambda x, m: losses.load_loss(tf.constant(np.abs(x)), m),
    ):
        assert float(function(padded, mask)) == pytest.approx(
            float(function(logits, None)), rel=1e-5
        )


def test_a_group_of_padding_does_not_count_in_the_mean_over_groups():
    logits = draw_logits(9, groups=3)
    probabilities, first = tf.nn.softmax(logits), tf.constant(logits.argmax(-1))
    mask = tf.constant([[True] * S, [False] * S, [True] * S])
    keep = tf.constant([0, 2])
    expected = losses.balance_loss(tf.gather(probabilities, keep), tf.gather(first, keep))
    assert float(losses.balance_loss(probabilities, first, mask)) == pytest.approx(float(expected))


# === Gradients ===


def test_gradients_equal_central_differences():
    logits = draw_logits(10, 1, 5)
    first = logits[0].argmax(-1)
    draws, stddev = noise(11, logits.shape)

    def balance(x):
        probabilities = np.array([reference.softmax(row) for row in x])
        fraction = np.bincount(first, minlength=E) / len(x)
        return E * sum(fraction * probabilities.mean(0))  # f has no gradient

    def load(x):  # the threshold moves with the logits: its gradient counts too
        rows = zip(x, x + draws[0] * stddev[0], stddev[0], strict=True)
        return reference.cv_squared(sum(reference.load_probability(*row, 2) for row in rows))

    def our_load(x):
        noisy = x + draws * stddev
        return losses.load_loss(losses.selection_probability(x, noisy, tf.constant(stddev), 2))

    for slow, ours in (
        (reference.z_loss, losses.z_loss),
        (balance, lambda x: losses.balance_loss(tf.nn.softmax(x), tf.constant(first[None]))),
        (load, our_load),
    ):
        value, gradient = value_and_gradient(ours, logits)
        assert value == pytest.approx(slow(logits[0].astype(np.float64)), rel=1e-5)
        expected = reference.numerical_gradient(slow, logits[0])
        np.testing.assert_allclose(gradient[0], expected, atol=1e-5)


def test_gradients_are_finite_at_perfect_balance_and_without_tokens():
    nobody = tf.zeros([G, S], tf.bool)
    first = tf.zeros([G, S], tf.int32)
    for function in (
        losses.cv_squared,
        lambda x: losses.cv_squared(0.0 * x),
        lambda x: losses.load_loss(x, nobody),
        lambda x: losses.z_loss(x, nobody),
        lambda x: losses.balance_loss(tf.nn.softmax(x), first),
        lambda x: losses.balance_loss(tf.nn.softmax(x), first, nobody),
        lambda x: losses.load_loss(losses.selection_probability(x, x, tf.fill([G, S, E], 1e-6), 2)),
    ):
        value, gradient = value_and_gradient(function, np.ones((G, S, E)))
        assert math.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_the_balance_loss_pushes_the_crowded_expert_down():
    logits = np.zeros((1, S, E), np.float32)
    logits[..., 3] = 1.0
    _, gradient = value_and_gradient(
        lambda x: losses.balance_loss(tf.nn.softmax(x), tf.fill([1, S], 3)), logits
    )
    assert np.all(gradient[..., 3] > 0) and np.all(np.delete(gradient, 3, axis=-1) < 0)
