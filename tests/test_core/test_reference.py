"""The references are checked too: by hand-worked examples and against each other."""

import math

import numpy as np
import pytest

from reference import moe as reference


def test_elementary_functions_at_known_points():
    np.testing.assert_allclose(reference.softmax([0.0, math.log(3.0)]), [0.25, 0.75])
    assert reference.softplus(0.0) == pytest.approx(math.log(2.0))
    assert reference.softplus(800.0) == 800.0
    assert reference.normal_cdf(0.0) == 0.5
    # Two-sided 95% of the normal lies within 1.959964 deviations.
    assert reference.normal_cdf(1.959964) == pytest.approx(0.975, abs=1e-7)
    # Mean 2, deviations -1, 0, 1: variance 2/3, over 4.
    assert reference.cv_squared([1.0, 2.0, 3.0]) == pytest.approx(1 / 6)


def test_top_breaks_ties_towards_the_lower_index():
    assert reference.top([1.0, 3.0, 3.0, 2.0], 3) == [1, 2, 3]


def test_noisy_top_k_gates_are_a_softmax_of_the_kept_logits():
    gates = reference.noisy_top_k_gates(np.log([1.0, 6.0, 2.0, 3.0]), 2)
    np.testing.assert_allclose(gates, [0.0, 6 / 9, 0.0, 3 / 9])


def test_load_probability_uses_the_threshold_without_the_component_itself():
    clean, noisy, stddev = np.zeros(3), np.array([3.0, 2.0, 1.0]), np.ones(3)
    # k=1: expert 0 must beat 2.0 (the best of the others), experts 1 and 2 must beat 3.0.
    expected = [reference.normal_cdf(-2.0), reference.normal_cdf(-3.0), reference.normal_cdf(-3.0)]
    np.testing.assert_allclose(reference.load_probability(clean, noisy, stddev, 1), expected)
    np.testing.assert_array_equal(reference.load_probability(clean, noisy, stddev, 3), np.ones(3))


def test_algorithm_1_by_hand():
    # Capacity 1. Pass 1: token 0 takes expert 0; tokens 1 and 2 want it too and overflow, which
    # still raises c_0 to 3. Pass 2, in token order: token 0 takes expert 1 (g2 = .3/.8); token 1
    # wants expert 1, full; token 2 takes expert 2 (g2 = .4/.9).
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]])
    plan = reference.algorithm_1(probabilities, limit=1, policy="all")
    np.testing.assert_array_equal(plan.kept, [[True, False, False], [True, False, True]])
    np.testing.assert_array_equal(plan.experts, [[0, 3, 3], [1, 3, 2]])
    np.testing.assert_allclose(plan.gates, [[5 / 8, 0, 0], [3 / 8, 0, 4 / 9]])


def test_algorithm_1_policies():
    # g2 after renormalization: 0.1, 0.3 and 0.45.
    probabilities = np.array([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.55, 0.45, 0.0]]) + 1e-12
    uniform = np.array([0.19, 0.61, 0.89])  # 2 g2 = 0.2, 0.6, 0.9: sent, not sent, sent

    def sent(policy, **kwargs):
        return reference.algorithm_1(probabilities, 3, policy, **kwargs).kept[1].tolist()

    assert sent("all") == [True, True, True]
    assert sent("none") == [False, False, False]
    assert sent("random", uniform=uniform) == [True, False, True]
    assert sent("threshold") == [False, True, True]
    assert sent("threshold", threshold=0.4) == [False, False, True]


def test_sampling_draws_the_second_expert_in_proportion():
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)
    draws = 4000
    counts = np.zeros(4)
    for gumbel in rng.gumbel(size=(draws, 4)):
        counts[reference.second_expert(probabilities, 0, gumbel)] += 1
    expected = np.array([0.0, 0.6, 0.3, 0.1])  # without the first: 0.3, 0.15, 0.05 over 0.5
    error = np.sqrt(expected * (1 - expected) / draws)
    assert np.all(np.abs(counts / draws - expected) <= 4 * error)


def test_algorithm_1_with_policy_all_is_two_rounds_of_fill():
    rng = np.random.default_rng(1)
    probabilities = np.array([reference.softmax(row) for row in rng.normal(size=(13, 5))])

    def renormalize(row, best):
        return [row[expert] / sum(row[e] for e in best) for expert in best]

    mask = rng.random(13) > 0.3
    experts, gates = reference.choose(probabilities, renormalize, 2, mask)
    for limit in (1, 2, 5):
        fast = reference.fill(experts, gates, 5, limit)
        literal = reference.algorithm_1(probabilities, limit, "all", mask=mask)
        for ours, theirs in zip(fast, literal, strict=True):
            np.testing.assert_allclose(ours, theirs)


def test_batch_priority_serves_the_largest_gate_first():
    experts = np.array([[0, 0, 0]])
    plan = reference.fill(experts, np.array([[0.2, 0.9, 0.5]]), 1, limit=2, priority=True)
    np.testing.assert_array_equal(plan.kept, [[False, True, True]])
    np.testing.assert_array_equal(plan.positions, [[-1, 0, 1]])


def test_the_textbook_einsum_equals_the_loop_over_tokens():
    rng = np.random.default_rng(2)
    size, width, count, limit = 11, 3, 5, 2
    tokens = rng.normal(size=(size, width))
    kernels = rng.normal(size=(count, width, 7))
    logits = rng.normal(size=(size, count))
    experts, gates = reference.choose(logits, reference.softmax_then_top, 2, rng.random(size) > 0.2)
    plan = reference.fill(experts, gates, count, limit)
    dispatch, combine = reference.one_hot(plan, count, limit)
    slots = np.einsum("sec,sd->ecd", dispatch, tokens)
    outputs = np.einsum("sec,ecf->sf", combine, np.einsum("ecd,edf->ecf", slots, kernels))
    by_token = reference.moe(tokens, plan, lambda e, x: x @ kernels[e])
    np.testing.assert_allclose(outputs, by_token, atol=1e-12)
    assert not np.all(plan.kept)  # some were dropped, so the comparison says something


def test_capacity_counts_real_tokens():
    assert reference.capacity(10, 4, 1, 1.25) == 4  # ceil(3.125)
    assert reference.capacity(3, 8, 1, 1.0) == 1
    assert reference.capacity(3, 8, 1, 1.0, minimum=2) == 2
    assert reference.capacity(7, 8, 1, None) == 7


def test_losses_of_the_uniform_router():
    uniform = np.full((12, 4), 0.25)
    assert reference.balance_loss(uniform) == pytest.approx(1.0)
    assert reference.gshard_loss(uniform) == pytest.approx(1 / 16)
    assert reference.z_loss(np.zeros((3, 4))) == pytest.approx(math.log(4.0) ** 2)


def test_numerical_gradient_of_a_cubic():
    gradient = reference.numerical_gradient(lambda x: np.sum(x**3), np.array([[1.0, -2.0]]))
    np.testing.assert_allclose(gradient, [[3.0, 12.0]], rtol=1e-6)
