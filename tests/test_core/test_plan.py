"""Plans: scenario tables, the textbook einsum as oracle, and invariants over random routings."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo.plans import DensePlan, EveryRow, expert_capacity, plan_dropless, plan_with_capacity
from moe_zoo.routers import Choices
from reference import moe as reference


def choices(experts, gates=None, num_experts=3):
    """Choices [G, K, S] as a router would make them."""
    experts = np.asarray(experts, np.int32)
    gates = np.ones(experts.shape) if gates is None else np.asarray(gates)
    groups, _, size = experts.shape
    probabilities = tf.fill([groups, size, num_experts], 1.0 / num_experts)
    return Choices(
        tf.constant(experts),
        tf.constant(gates, tf.float32),
        tf.zeros([groups, size, num_experts]),
        probabilities,
        {},
    )


def random_choices(rng, groups, top_k, size, num_experts, refused=0.0):
    """Distinct experts per token, gates in (0, 1], a share of the choices refused (expert E)."""
    order = rng.random((groups, num_experts, size)).argsort(axis=1)
    experts = np.where(rng.random((groups, top_k, size)) < refused, num_experts, order[:, :top_k])
    gates = 1.0 - rng.random((groups, top_k, size)).astype(np.float32)
    return experts, gates


# === Capacity ===


@pytest.mark.parametrize(
    "size, experts, top_k, factor, least, expected",
    [
        (10, 4, 1, 1.25, 1, 4),  # 1.25 * 10 / 4 = 3.125
        (8, 4, 2, 1.0, 1, 4),  # exactly 2 * 8 / 4
        (10, 1, 1, 1.1, 1, 10),  # 11, but an expert cannot get more than every token
        (100, 10, 1, 1.1, 1, 11),  # exactly 11, though 1.1 * 100 / 10 is 11.000000000000002
        (7, 32, 1, 1.0, 4, 4),  # min_capacity
        (3, 32, 1, 1.0, 4, 3),  # min_capacity, but there are only 3 tokens
        (0, 5, 2, 1.25, 4, 0),
        (1, 5, 2, 1.25, 1, 1),
    ],
)
def test_capacity_table(size, experts, top_k, factor, least, expected):
    assert expert_capacity(size, experts, top_k, factor, least) == expected
    in_graph = expert_capacity(tf.constant([size]), experts, top_k, factor, least)
    np.testing.assert_array_equal(in_graph, [expected])


@given(
    st.integers(0, 5000), st.integers(1, 512), st.integers(1, 4), st.sampled_from([0.5, 1, 1.25, 2])
)
def test_capacity_is_the_reference_cut_at_the_number_of_tokens(size, experts, top_k, factor):
    expected = min(size, reference.capacity(size, experts, top_k, factor))  # exact binary factors
    assert expert_capacity(size, experts, top_k, factor) == expected
    assert int(expert_capacity(tf.constant(size), experts, top_k, factor)) == expected


# === Scenario tables: five tokens, three experts, two slots each ===

# First choices 0 0 0 1 2, second choices 1 2 1 0 0.
#   expert 0: tokens 0 and 1 fill it, token 2 is dropped; so are the second choices of 3 and 4.
#   expert 1: token 3 (a first choice) is served before token 0; token 2 comes third, dropped.
#   expert 2: token 4 (first choice), then token 1.
EXPERTS = [[[0, 0, 0, 1, 2], [1, 2, 1, 0, 0]]]
GATES = [[[0.5, 0.6, 0.9, 0.7, 0.8], [0.5, 0.4, 0.1, 0.3, 0.2]]]


def test_first_choices_before_second_ones_then_token_order():
    plan = plan_with_capacity(choices(EXPERTS, GATES), 3, 2)
    kept = [[True, True, False, True, True], [True, True, False, False, False]]
    np.testing.assert_array_equal(plan.kept[0], kept)
    np.testing.assert_array_equal(plan.tokens[0], [[0, 1], [3, 0], [4, 1]])
    np.testing.assert_array_equal(plan.filled[0], np.ones((3, 2), bool))
    # Slot = 2 * expert + place.
    np.testing.assert_array_equal(plan.slots[0][0].numpy()[[0, 1, 3, 4]], [0, 1, 2, 4])
    np.testing.assert_array_equal(plan.slots[0][1].numpy()[[0, 1]], [3, 5])
    np.testing.assert_array_equal(plan.demand(), [5, 3, 2])
    np.testing.assert_array_equal(plan.load(), [2.0, 2.0, 2.0])
    # Sums of gates before any drop: expert 0 gets .5 + .6 + .9 + .3 + .2, and so on.
    np.testing.assert_allclose(plan.importance(), [2.5, 0.5 + 0.1 + 0.7, 0.4 + 0.8], rtol=1e-6)


def test_batch_priority_serves_by_falling_priority():
    # Tokens queue as 2 (.9), 4 (.8), 3 (.7), 1 (.6), 0 (.5).
    #   expert 0: first choices of 2, 1, 0 -> 2 and 1; no place for second choices of 4 and 3.
    #   expert 1: first choice of 3, then second choices of 2 and 0 -> 3 and 2.
    #   expert 2: first choice of 4, then the second one of 1.
    priority = tf.reduce_max(tf.constant(GATES), 1)
    plan = plan_with_capacity(choices(EXPERTS, GATES), 3, 2, priority=priority)
    kept = [[False, True, True, True, True], [False, True, True, False, False]]
    np.testing.assert_array_equal(plan.kept[0], kept)
    np.testing.assert_array_equal(plan.tokens[0], [[2, 1], [3, 2], [4, 1]])


def test_combine_is_one_line_of_numpy():
    # Expert e adds 10 e. Token 0: .5 (x) + .5 (x + 10); token 1: .6 x + .4 (x + 20); token 2 is
    # dropped twice; token 3: .7 (x + 10); token 4: .8 (x + 20).
    plan = plan_with_capacity(choices(EXPERTS, GATES), 3, 2)
    x = np.arange(1.0, 6.0, dtype=np.float32)
    slots = plan.dispatch(tf.constant(x[None, :, None]))
    outputs = plan.combine(slots + tf.reshape(tf.constant([0.0, 10.0, 20.0]), [3, 1, 1]))
    expected = [x[0] + 5, x[1] + 8, 0.0, 0.7 * (x[3] + 10), 0.8 * (x[4] + 20)]
    np.testing.assert_allclose(outputs[0, :, 0], expected, rtol=1e-6)


def test_trap_every_slot_is_used_from_the_first_to_the_last():
    # A one-based count of places wastes slot 0 and then drops the last token that would fit.
    plan = plan_with_capacity(choices([[[1, 1, 1, 1]]]), 3, 4)
    np.testing.assert_array_equal(plan.slots[0, 0], [4, 5, 6, 7])
    assert np.all(plan.kept) and np.all(plan.filled[0, 1]) and not np.any(plan.filled[0, 0])


def test_a_limit_below_the_capacity_leaves_the_last_slots_empty():
    plan = plan_with_capacity(choices([[[0, 0, 0]], [[0, 0, 0]]]), 3, 3, limit=tf.constant([1, 2]))
    np.testing.assert_array_equal(plan.kept[:, 0], [[True, False, False], [True, True, False]])
    np.testing.assert_array_equal(plan.filled[:, 0], [[True, False, False], [True, True, False]])


# === The textbook einsum as the oracle ===

G, K, S, D, E, C = 3, 2, 13, 5, 7, 2


@pytest.mark.parametrize("priority", [False, True])
def test_dispatch_and_combine_equal_the_one_hot_einsum(priority):
    rng = np.random.default_rng(0)
    experts, gates = random_choices(rng, G, K, S, E, refused=0.2)
    tokens = rng.normal(size=(G, S, D)).astype(np.float32)
    scale = rng.normal(size=(E, 1, 1)).astype(np.float32)
    ranks = tf.reduce_max(tf.constant(gates), 1) if priority else None
    plan = plan_with_capacity(choices(experts, gates, E), E, C, priority=ranks)
    slots = plan.dispatch(tf.constant(tokens))
    outputs = plan.combine(slots * scale)
    assert slots.shape == (E, G * C, D)
    for group in range(G):
        slow = reference.fill(experts[group], gates[group], E, C, priority)
        dispatch, combine = reference.one_hot(slow, E, C)
        by_expert = np.einsum("sec,sd->ecd", dispatch, tokens[group])
        np.testing.assert_allclose(slots[:, group * C : (group + 1) * C], by_expert, rtol=1e-6)
        expected = np.einsum("sec,ecd->sd", combine, by_expert * scale)
        np.testing.assert_allclose(outputs[group], expected, atol=1e-5)
        np.testing.assert_array_equal(plan.kept[group], slow.kept)


def test_dropless_rows_are_sorted_by_expert_and_none_is_dropped():
    rng = np.random.default_rng(1)
    experts, gates = random_choices(rng, G, K, S, E, refused=0.2)
    tokens = rng.normal(size=(G, S, D)).astype(np.float32)
    plan = plan_dropless(choices(experts, gates, E), E)
    rows = plan.dispatch(tf.constant(tokens)).numpy()
    counts = plan.counts.numpy()
    np.testing.assert_array_equal(counts, [np.sum(experts == e) for e in range(E)])
    start = 0
    for expert in range(E):  # each expert's rows are the tokens that asked for it, each once
        asked = [tokens[g, s] for g, k, s in np.argwhere(experts == expert)]
        mine = rows[start : start + counts[expert]]
        np.testing.assert_array_equal(np.sort(mine, axis=0), np.sort(asked, axis=0))
        start += counts[expert]
    with_room = plan_with_capacity(choices(experts, gates, E), E, S)
    expected = with_room.combine(with_room.dispatch(tf.constant(tokens)))
    np.testing.assert_allclose(plan.combine(tf.constant(rows)), expected, atol=1e-6)


def test_dense_plan_weighs_every_expert():
    rng = np.random.default_rng(2)
    tokens = rng.normal(size=(G, S, D)).astype(np.float32)
    gates = rng.random((G, S, E)).astype(np.float32)
    real = rng.random((G, S)) > 0.3
    gates[~real] = 0.0
    plan = DensePlan(tf.constant(gates), tf.constant(real), tf.constant(gates), {})
    scale = rng.normal(size=(E, 1)).astype(np.float32)
    rows = plan.dispatch(tf.constant(tokens))
    assert isinstance(plan.layout, EveryRow) and rows.shape == (G * S, D)
    outputs = plan.combine(rows[:, None] * scale)
    expected = tokens * (gates @ scale)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(plan.load(), [real.sum()] * E)
    gates[0, :, 1] = 0.0
    plan = plan._replace(gates=tf.constant(gates))
    both = np.zeros((E, E))
    for row in gates.reshape(-1, E) > 0:
        both += np.triu(np.outer(row, row), 1)
    np.testing.assert_array_equal(plan.pairs(), both)
    closed = plan._replace(gates=plan.gates * (np.arange(E) > 1))  # demand is a gate above 0
    np.testing.assert_allclose(closed.load(), [0, 0, *[real.sum()] * (E - 2)])


def test_nan_in_one_token_stays_in_that_token():
    # Token 1 is NaN and dropped, token 2 is NaN and kept: only token 2's output may be NaN.
    tokens = tf.constant([[[1.0], [math.nan], [math.nan], [4.0]]])
    plan = plan_with_capacity(choices([[[0, 0, 1, 2]]]), 3, 1)
    outputs = plan.combine(plan.dispatch(tokens)).numpy()
    np.testing.assert_array_equal(outputs[0, :, 0], [1.0, 0.0, math.nan, 4.0])


@pytest.mark.parametrize("groups, size", [(1, 0), (0, 5)])
def test_no_tokens(groups, size):
    empty = choices(np.zeros((groups, 2, size)))
    tokens = tf.zeros([groups, size, 4])
    for plan in (plan_with_capacity(empty, 3, 0), plan_dropless(empty, 3)):
        assert plan.combine(plan.dispatch(tokens)).shape == (groups, size, 4)
        np.testing.assert_array_equal(plan.load(), [0.0, 0.0, 0.0])


# === Invariants ===


@st.composite
def routings(draw):
    """Sizes, random choices with refusals, a capacity, limits, and a priority or none."""
    num_experts = draw(st.integers(1, 7))
    top_k = draw(st.integers(1, num_experts))
    groups, size = draw(st.integers(1, 3)), draw(st.integers(1, 17))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    refused = draw(st.sampled_from([0.0, 0.3, 1.0]))
    experts, gates = random_choices(rng, groups, top_k, size, num_experts, refused)
    capacity = draw(st.integers(1, size))
    limit = rng.integers(0, capacity, groups, endpoint=True) if draw(st.booleans()) else None
    return num_experts, experts, gates, capacity, limit, draw(st.booleans())


@given(routings())
@settings(max_examples=40)
def test_plan_invariants(routing):
    count, experts, gates, capacity, limit, priority = routing
    ranks = tf.reduce_max(tf.constant(gates), 1) if priority else None
    limits = None if limit is None else tf.constant(limit, tf.int32)
    plan = plan_with_capacity(choices(experts, gates, count), count, capacity, limits, ranks)
    for group in range(len(experts)):
        kept, slots = plan.kept[group].numpy(), plan.slots[group].numpy()
        used = slots[kept]
        assert len(set(used)) == len(used), "a slot is used twice"
        filled, holder = plan.filled[group].numpy(), plan.tokens[group].numpy()
        assert filled.sum() == kept.sum()
        cap = capacity if limit is None else limit[group]
        assert filled.sum(axis=1).max() <= cap, "an expert is over capacity"
        for choice, token in np.argwhere(kept):
            expert, place = divmod(slots[choice, token], capacity)
            assert expert == experts[group, choice, token]
            assert filled[expert, place] and holder[expert, place] == token
        slow = reference.fill(experts[group], gates[group], count, cap, priority)
        np.testing.assert_array_equal(kept, slow.kept)
        for expert in range(count):  # nobody is dropped while there is room
            asked = experts[group] == expert
            assert (kept & asked).sum() == min(asked.sum(), cap)
            if 0 < (kept & asked)[1:].sum():  # a later choice has a slot: no first one was dropped
                assert kept[0][asked[0]].all()


@given(routings(), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_renaming_the_experts_renames_the_plan(routing, random):
    count, experts, gates, capacity, _, priority = routing
    names = list(range(count))
    random.shuffle(names)
    renamed = np.array([*names, count])[experts]
    ranks = tf.reduce_max(tf.constant(gates), 1) if priority else None
    before = plan_with_capacity(choices(experts, gates, count), count, capacity, None, ranks)
    after = plan_with_capacity(choices(renamed, gates, count), count, capacity, None, ranks)
    np.testing.assert_array_equal(before.kept, after.kept)
    order = tf.constant(names, tf.int32)
    np.testing.assert_array_equal(before.filled, tf.gather(after.filled, order, axis=1))
    held = tf.gather(after.tokens, order, axis=1)
    np.testing.assert_array_equal(
        before.tokens * tf.cast(before.filled, tf.int32), held * tf.cast(before.filled, tf.int32)
    )
