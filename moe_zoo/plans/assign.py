"""Planning: which choice gets which slot.

Axis letters as in `moe_zoo.plans.plan`.
"""

from fractions import Fraction

import tensorflow as tf

from moe_zoo.portable import portable

from .gathers import shape_of
from .plan import DroplessPlan, RoutingPlan


def expert_capacity(group_size, num_experts, top_k, capacity_factor, min_capacity=1):
    """Slots of an expert in a group: `min(S, max(min_capacity, ceil(factor * K * S / E)))`.

    The factor is taken as a fraction and the division is done in integers, so that Python and the
    graph agree to the last slot.

    Args:
        group_size: `int` or `<int32>[...]`, tokens in a group.
        num_experts: `int`, E.
        top_k: `int`, K.
        capacity_factor: `float`, slots over assignments when the load is perfectly balanced.
        min_capacity: `int`, the least number of slots (never more than there are tokens).

    Returns:
        `int` if `group_size` is one, else `<int32>[...]` of the same shape.
    """
    factor = Fraction(capacity_factor).limit_denominator(10_000)
    numerator, denominator = factor.numerator * top_k, factor.denominator * num_experts
    if isinstance(group_size, int):
        return min(group_size, max(min_capacity, -(-numerator * group_size // denominator)))
    size = tf.cast(group_size, tf.int64)
    capacity = tf.maximum(tf.constant(min_capacity, tf.int64), -(-numerator * size // denominator))
    return tf.cast(tf.minimum(size, capacity), tf.int32)


def plan_with_capacity(choices, num_experts, capacity, limit=None, priority=None) -> RoutingPlan:
    """Give each choice a slot of its expert: first choices before second ones, then in token order.

    A choice whose place in its expert's queue is `limit` or more is dropped. It still counts in the
    queue, as in GShard's Algorithm 1 (Lepikhin et al. 2021).

    Args:
        choices: `routers.Choices`.
        num_experts: `int`, E.
        capacity: `int` or `<int32>[]`, C, slots of an expert in a group.
        limit: `<int32>[G]` or `None`, slots in use, at most C (fewer when tokens of the group are
            masked).
        priority: `<float32>[G, S]` or `None`; tokens queue by falling priority instead of token
            order (batch-prioritised routing, Riquelme et al. 2021).
    """
    groups, top_k, size = shape_of(choices.experts)
    rows = top_k * size
    if limit is None:
        limit = tf.fill([groups], capacity)
    queue = tf.reshape(choices.experts, [groups, rows])  # choice-major: first choices come first
    if priority is not None:
        ahead = tf.argsort(-priority, axis=-1, stable=True)  # [G, S], tokens by falling priority
        queue = tf.reshape(tf.gather(choices.experts, ahead, axis=2, batch_dims=1), [groups, rows])

    order = tf.argsort(queue, axis=-1, stable=True)  # [G, K * S], choices sorted by expert
    place = tf.argsort(order, axis=-1, stable=True)  # the inverse permutation
    demand = _count(queue, num_experts)  # [G, E]
    start = tf.cumsum(demand, axis=1, exclusive=True)
    asked = queue < num_experts
    position = place - tf.gather(start, tf.minimum(queue, num_experts - 1), batch_dims=1)
    kept = tf.logical_and(asked, position < tf.expand_dims(limit, 1))
    slots = tf.where(kept, queue * capacity + position, 0)

    offset = tf.range(capacity)
    filled = offset < tf.expand_dims(tf.minimum(demand, tf.expand_dims(limit, 1)), 2)  # [G, E, C]
    row = tf.minimum(tf.expand_dims(start, 2) + offset, rows - 1)
    row = tf.reshape(row, [groups, num_experts * capacity])
    tokens = tf.gather(order, row, batch_dims=1) % size
    if priority is not None:
        back = tf.argsort(ahead, axis=-1, stable=True)
        slots, kept = (
            tf.gather(tf.reshape(x, [groups, top_k, size]), back, axis=2, batch_dims=1)
            for x in (slots, kept)
        )
        tokens = tf.gather(ahead, tokens, batch_dims=1)
    return RoutingPlan(
        experts=choices.experts,
        gates=choices.gates,
        kept=tf.reshape(kept, [groups, top_k, size]),
        slots=tf.reshape(slots, [groups, top_k, size]),
        tokens=tf.reshape(tokens, [groups, num_experts, capacity]),
        filled=filled,
        demand=demand,
        probabilities=choices.probabilities,
        losses=choices.losses,
    )


def plan_dropless(choices, num_experts) -> DroplessPlan:
    """Sort all choices by expert; none is dropped.

    Args:
        choices: `routers.Choices`.
        num_experts: `int`, E.
    """
    groups, top_k, size = shape_of(choices.experts)
    queue = tf.reshape(choices.experts, [-1])
    order = tf.argsort(queue, stable=True)
    group, token = order // (top_k * size), order % size
    return DroplessPlan(
        experts=choices.experts,
        gates=choices.gates,
        kept=choices.experts < num_experts,
        slots=tf.reshape(_inverse(order), [groups, top_k, size]),
        tokens=group * size + token,
        counts=tf.reshape(_count(tf.expand_dims(queue, 0), num_experts), [num_experts]),
        probabilities=choices.probabilities,
        losses=choices.losses,
    )


def _count(experts, num_experts):
    """`<int32>[G, N]` -> `<int32>[G, E]`, occurrences of each expert; E counts nowhere."""
    groups, _ = shape_of(experts)
    buckets = num_experts + 1
    ids = experts + buckets * tf.expand_dims(tf.range(groups), 1)
    if portable():
        ids = tf.reshape(ids, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, groups * buckets)
    return tf.reshape(counts, [groups, buckets])[:, :num_experts]


def _inverse(permutation):
    """`<int32>[N]` -> `<int32>[N]`."""
    return tf.argsort(permutation) if portable() else tf.math.invert_permutation(permutation)
