"""Routers: who goes where, held against the loops of the papers. Tokens are logits."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from reference import moe as reference
from router_cases import ONE_OF_EACH, ROUTERS, E, S, route

SLOW = {
    SwitchRouter: reference.switch_plan,
    NoisyTopKRouter: reference.noisy_top_k_plan,
    GShardRouter: reference.gshard_plan,
}
NAMES = {"second_expert_policy": "policy", "second_expert_threshold": "threshold"}


def slow_plan(router_class, logits, limit, mask=None, **kwargs):
    """The same from the papers, with a Plan of [K, S]."""
    kwargs = {NAMES.get(name, name): value for name, value in kwargs.items()}
    return SLOW[router_class](logits, limit, mask, **kwargs)


def assert_same_plan(plan, slow):
    kept = plan.kept[0].numpy()
    np.testing.assert_array_equal(kept, slow.kept)
    np.testing.assert_array_equal(plan.experts[0].numpy()[kept], slow.experts[slow.kept])
    np.testing.assert_allclose(plan.gates[0].numpy()[kept], slow.gates[slow.kept], rtol=1e-5)
    if hasattr(plan, "filled"):
        capacity = plan.tokens.shape[2]
        places = plan.slots[0].numpy() - capacity * plan.experts[0].numpy()
        np.testing.assert_array_equal(places[kept], slow.positions[slow.kept])


# === Scenario tables ===

# Four tokens, three experts; rows are logits log(p). Fair share of one choice: ceil(4/3) = 2.
TABLE = np.log([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.7, 0.1, 0.2], [0.2, 0.7, 0.1]])


def test_switch_table():
    # Expert 0 takes tokens 0 and 1; token 2, which wants it most, comes too late. Raw gates.
    plan = route(SwitchRouter, TABLE)
    np.testing.assert_array_equal(plan.kept[0, 0], [True, True, False, True])
    np.testing.assert_allclose(plan.gates[0, 0].numpy()[[0, 1, 3]], [0.5, 0.6, 0.7], rtol=1e-6)


def test_switch_table_with_batch_priority():
    # By gate: tokens 2 (.7), 3 (.7), 1 (.6), 0 (.5). Expert 0 takes 2 and 1, token 0 is dropped.
    plan = route(SwitchRouter, TABLE, batch_priority=True)
    np.testing.assert_array_equal(plan.kept[0, 0], [False, True, True, True])


def test_gshard_table():
    # C = ceil(2 * 4 / 3) = 3. First choices 0 0 0 1 all fit. Second choices, token order: token 0
    # and token 1 want expert 1, which holds token 3: both fit. Token 2 wants expert 2. Token 3
    # wants expert 0, which is full.
    plan = route(GShardRouter, TABLE, second_expert_policy="all")
    np.testing.assert_array_equal(plan.kept[0], [[True] * 4, [True, True, True, False]])
    np.testing.assert_array_equal(plan.experts[0], [[0, 0, 0, 1], [1, 1, 2, 0]])
    # The gate of token 3 is renormalized before the drop and not after: .7 / .9.
    np.testing.assert_allclose(plan.gates[0, 0], [5 / 8, 6 / 9, 7 / 9, 7 / 9], rtol=1e-6)


def test_noisy_top_k_table():
    # Without noise: softmax over the two kept logits, all sums one.
    plan = route(NoisyTopKRouter, TABLE, top_k=2, capacity_factor=None)
    np.testing.assert_allclose(plan.gates[0, 0], [5 / 8, 6 / 9, 7 / 9, 7 / 9], rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(plan.gates, 1), np.ones((1, 4)), rtol=1e-6)


def test_softmax_table():
    plan = route_softmax(TABLE, [True, True, False, True])
    expected = np.exp(TABLE) * np.array([[1], [1], [0], [1]])
    np.testing.assert_allclose(plan.gates[0], expected, rtol=1e-6)


def route_softmax(logits, mask=None):
    router = SoftmaxRouter(num_experts=logits.shape[1], kernel_initializer="identity")
    return router(tf.constant(logits[None], tf.float32), mask=tf.constant([mask]))


# === Against the papers ===


@pytest.mark.parametrize("router_class, kwargs", ROUTERS)
@pytest.mark.parametrize("factor", [0.5, 1.0, None])
@pytest.mark.parametrize("masked", [False, True])
def test_plans_equal_the_references(router_class, kwargs, factor, masked):
    rng = np.random.default_rng(S)
    logits = rng.normal(size=(S, E))
    mask = rng.random(S) > 0.3 if masked else None
    real = S if mask is None else int(mask.sum())
    plan = route(router_class, logits, mask, capacity_factor=factor, **kwargs)
    limit = reference.capacity(real, E, plan.experts.shape[1], factor)
    assert_same_plan(plan, slow_plan(router_class, logits, limit, mask, **kwargs))


@pytest.mark.parametrize(
    "router_class, kwargs",
    # The reference has an order by gates for GShard's two best alone.
    [case for case in ROUTERS if case[1].get("second_expert_policy", "all") == "all"],
)
def test_batch_priority_equals_the_reference(router_class, kwargs):
    rng = np.random.default_rng(S)
    logits, mask = rng.normal(size=(S, E)), rng.random(S) > 0.2
    plan = route(router_class, logits, mask, capacity_factor=0.5, batch_priority=True, **kwargs)
    limit = reference.capacity(int(mask.sum()), E, plan.experts.shape[1], 0.5)
    slow = slow_plan(router_class, logits, limit, mask, priority=True, **kwargs)
    assert_same_plan(plan, slow)


@pytest.mark.parametrize("size", [7, 11, 35])
def test_batch_priority_keeps_tokens_of_equal_gates_in_order(size):
    # The gate of an only choice is 1, which TensorFlow rounds by its place among 8: a queue by
    # exact gates would begin with the last `size % 8` tokens.
    logits = np.random.default_rng(S).normal(size=(size, E))
    plan = route(NoisyTopKRouter, logits, capacity_factor=0.5, batch_priority=True, top_k=1)
    limit = reference.capacity(size, E, 1, 0.5)
    assert_same_plan(plan, slow_plan(NoisyTopKRouter, logits, limit, top_k=1))


@given(st.integers(0, 2**32), st.integers(1, 13), st.integers(0, 6), st.integers(1, 3))
@settings(max_examples=20)
def test_padding_changes_no_plan_of_a_real_token(seed, size, padding, minimum):
    """Wherever it stands, whatever it holds, however much there is."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, E))
    mask = rng.permutation([True] * size + [False] * padding)
    padded = np.full((size + padding, E), np.nan)
    padded[mask] = logits
    for router_class, kwargs in ONE_OF_EACH:
        kwargs = {**kwargs, "min_capacity": minimum, "batch_priority": bool(seed % 2)}
        alone = route(router_class, logits, **kwargs)
        among = route(router_class, padded, mask, **kwargs)
        np.testing.assert_array_equal(alone.kept[0], among.kept[0].numpy()[:, mask])
        np.testing.assert_allclose(alone.gates[0], among.gates[0].numpy()[:, mask], rtol=1e-6)
        assert not np.any(among.kept[0].numpy()[:, ~mask])


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 13), st.booleans())
@settings(max_examples=15)
def test_gate_invariants(seed, experts, size, priority):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, experts))
    top_k = int(rng.integers(1, experts, endpoint=True))
    kwargs = {"top_k": top_k, "batch_priority": priority}
    plan = route(NoisyTopKRouter, logits, capacity_factor=None, **kwargs)
    np.testing.assert_allclose(tf.reduce_sum(plan.gates, 1), np.ones((1, size)), rtol=1e-5)
    plan = route(NoisyTopKRouter, logits, capacity_factor=experts, **kwargs)
    assert np.all(plan.kept)  # capacity of all tokens
    plan = route(SwitchRouter, logits, capacity_factor=0.5, **kwargs)
    kept, asked = plan.kept[0, 0].numpy(), plan.experts[0, 0].numpy()
    gates = plan.gates[0, 0].numpy()
    for expert in set(asked) if priority else ():  # the largest first gates are the ones kept
        mine = asked == expert
        lost = gates[mine & ~kept]
        assert lost.size == 0 or gates[mine & kept].min() >= lost.max()
    total = tf.reduce_sum(plan.gates, 1).numpy()
    assert np.all(total <= 1 + 1e-5) and np.all(gates >= 1 / experts - 1e-6)


# === Second-expert policies ===


def second_choices(policy, draws=4000):
    """First and second experts of many tokens with p = .5, .3, .15, .05, in training."""
    logits = np.tile(np.log([0.5, 0.3, 0.15, 0.05]), (draws, 1))
    plan = route(
        GShardRouter, logits, training=True, capacity_factor=None, second_expert_policy=policy
    )
    assert np.all(plan.experts[0, 0] == 0)
    return plan


def test_policy_random_admits_with_probability_twice_the_gate():
    plan = second_choices("random")
    kept = plan.kept[0, 1].numpy()  # g2 = .3 / .8, so 2 g2 = .75
    assert abs(kept.mean() - 0.75) <= 4 * math.sqrt(0.75 * 0.25 / len(kept))
    assert set(plan.experts[0, 1].numpy()[kept]) == {1}


def test_policy_sampling_draws_from_the_softmax_without_the_first():
    plan = second_choices("sampling")
    experts = plan.experts[0, 1].numpy()
    expected = np.array([0.0, 0.6, 0.3, 0.1])
    error = np.sqrt(expected * (1 - expected) / len(experts))
    share = np.bincount(experts, minlength=4) / len(experts)
    assert np.all(np.abs(share - expected) <= 4 * error)
    # Gates are renormalized over the drawn pair, for example .5 / (.5 + .05).
    pair = 0.5 + np.array([0.0, 0.3, 0.15, 0.05])[experts]
    np.testing.assert_allclose(plan.gates[0, 0], 0.5 / pair, rtol=1e-5)


def test_random_policies_take_every_second_choice_in_evaluation():
    logits = np.random.default_rng(0).normal(size=(S, E))
    for policy in ("random", "sampling"):
        plan = route(GShardRouter, logits, second_expert_policy=policy)
        expected = route(GShardRouter, logits, second_expert_policy="all")
        np.testing.assert_array_equal(plan.experts, expected.experts)
