"""Who gets which slot.

Axis letters as in `moe_zoo.plans.plan`.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from moe_zoo.scopes import portable

from .gathers import shape_of


class Assignment(NamedTuple):
    """The slot of every choice, and the token of every slot.

    Fields:
        kept: `<bool>[G, K, S]`, whether the expert had a slot left.
        slots: `<int32>[G, K, S]`, the slot in `[E * C]` of each kept choice.
        tokens: `<int32>[G, E, C]`, the token that fills each slot.
        filled: `<bool>[G, E, C]`, whether the slot is in use.
        asked: `<int32>[G, E]`, choices that asked for each expert.
    """

    kept: tf.Tensor
    slots: tf.Tensor
    tokens: tf.Tensor
    filled: tf.Tensor
    asked: tf.Tensor


def assign_slots(
    experts: tf.Tensor,
    num_experts: int,
    capacity: Any,
    limit: tf.Tensor | None,
    priority: tf.Tensor | None,
) -> Assignment:
    """Assign the slots of each expert in the order of its queue.

    Args:
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.
        capacity: `int` or `<int32>[]`, C.
        limit: `<int32>[G]` or `None`, slots in use.
        priority: `<float32>[G, S]` or `None`, tokens with the highest come first.

    Returns:
        `Assignment`.
    """
    groups, top_k, size = shape_of(experts)
    rows = top_k * size
    if limit is None:
        limit = tf.fill([groups], capacity)
    queue = tf.reshape(experts, [groups, rows])  # choice-major: first choices come first
    if priority is not None:
        ahead = tf.argsort(-priority, axis=-1, stable=True)  # [G, S], tokens by falling priority
        queue = tf.reshape(tf.gather(experts, ahead, axis=2, batch_dims=1), [groups, rows])

    order = tf.argsort(queue, axis=-1, stable=True)  # [G, K * S], choices sorted by expert
    place = tf.argsort(order, axis=-1, stable=True)  # the inverse permutation
    asked = _count(queue, num_experts)  # [G, E]
    start = tf.cumsum(asked, axis=1, exclusive=True)
    wanted = queue < num_experts
    position = place - tf.gather(start, tf.minimum(queue, num_experts - 1), batch_dims=1)
    kept = tf.logical_and(wanted, position < tf.expand_dims(limit, 1))
    slots = tf.where(kept, queue * capacity + position, 0)

    offset = tf.range(capacity)
    filled = offset < tf.expand_dims(tf.minimum(asked, tf.expand_dims(limit, 1)), 2)  # [G, E, C]
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
    return Assignment(
        kept=tf.reshape(kept, [groups, top_k, size]),
        slots=tf.reshape(slots, [groups, top_k, size]),
        tokens=tf.reshape(tokens, [groups, num_experts, capacity]),
        filled=filled,
        asked=asked,
    )


def sort_by_expert(experts: tf.Tensor, num_experts: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sort the choices of all groups by expert.

    Args:
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `(<int32>[G, K, S], <int32>[G * K * S], <int32>[E])`: the row of each choice, the token of
        each row, and the rows of each expert.
    """
    groups, top_k, size = shape_of(experts)
    queue = tf.reshape(experts, [-1])
    order = tf.argsort(queue, stable=True)
    group, token = order // (top_k * size), order % size
    slots = tf.reshape(_inverse(order), [groups, top_k, size])
    counts = tf.reshape(_count(tf.expand_dims(queue, 0), num_experts), [num_experts])
    return slots, group * size + token, counts


def _count(experts: tf.Tensor, num_experts: int) -> tf.Tensor:
    """`<int32>[G, N]` -> `<int32>[G, E]`, occurrences of each expert; E counts nowhere."""
    groups, _ = shape_of(experts)
    buckets = num_experts + 1
    ids = experts + buckets * tf.expand_dims(tf.range(groups), 1)
    if portable():
        ids = tf.reshape(ids, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, groups * buckets)
    return tf.reshape(counts, [groups, buckets])[:, :num_experts]


def _inverse(permutation: tf.Tensor) -> tf.Tensor:
    """`<int32>[N]` -> `<int32>[N]`."""
    return tf.argsort(permutation) if portable() else tf.math.invert_permutation(permutation)
