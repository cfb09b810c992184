"""Routing plans: which expert computes which token, and how tokens travel there and back.

Axis letters, here and everywhere in the library:

    G groups    S tokens in a group    D model width    E experts
    K choices of a token (`top_k`)     C capacity of an expert within a group    F hidden width

A plan is made of integers: every choice of a token knows its slot, and every slot knows its token,
so that dispatch and combine are gathers, and so are their gradients. No tensor of tokens x experts
x capacity is ever built.
"""

from fractions import Fraction
from typing import NamedTuple

import tensorflow as tf

from moe_zoo.dispatch import fill_slots, shape_of, sum_slots


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


class RoutingPlan(NamedTuple):
    """A token-choice plan with a fixed number of slots per expert.

    Fields:
        experts: `<int32>[G, K, S]`, the expert that each token asks for; E where it asks for none.
        gates: `<float32>[G, K, S]`, the weight of that expert's output, before any drop.
        kept: `<bool>[G, K, S]`, whether the expert had a slot left.
        slots: `<int32>[G, K, S]`, the slot in `[E * C]` of each kept choice.
        tokens: `<int32>[G, E, C]`, the token that fills each slot.
        filled: `<bool>[G, E, C]`, whether the slot is in use.
        demand: `<int32>[G, E]`, choices that asked for each expert.
        probabilities: `<float32>[G, S, E]`, the router's softmax over all experts.
        losses: `dict` of `<float32>[]`, the weighted auxiliary losses by name.
    """

    experts: tf.Tensor
    gates: tf.Tensor
    kept: tf.Tensor
    slots: tf.Tensor
    tokens: tf.Tensor
    filled: tf.Tensor
    demand: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]

    @property
    def counts(self):
        """Rows per expert: `None`, since every expert has the same number of slots."""
        return None

    def dispatch(self, tokens):
        """`<dtype>[G, S, D]` -> `<dtype>[E, G * C, D]`; an empty slot holds zeros."""
        groups, num_experts, capacity = shape_of(self.tokens)
        width = tokens.shape[-1]
        slots = fill_slots(tokens, self._index(), self.slots, self.kept)  # [G, E * C, D]
        slots = tf.reshape(slots, [groups, num_experts, capacity, width])
        slots = tf.transpose(slots, [1, 0, 2, 3])
        return tf.reshape(slots, [num_experts, groups * capacity, width])

    def combine(self, outputs):
        """`<dtype>[E, G * C, D]` -> `<dtype>[G, S, D]`, a token's kept choices summed by gate."""
        groups, num_experts, capacity = shape_of(self.tokens)
        width = outputs.shape[-1]
        outputs = tf.reshape(outputs, [num_experts, groups, capacity, width])
        outputs = tf.transpose(outputs, [1, 0, 2, 3])
        outputs = tf.reshape(outputs, [groups, num_experts * capacity, width])
        return sum_slots(outputs, self.gates, self._index(), self.slots, self.kept)

    def _index(self):
        """`<int32>[G, E * C]`, the token of each slot; S if it is empty."""
        groups, num_experts, capacity = shape_of(self.tokens)
        index = tf.where(self.filled, self.tokens, tf.shape(self.kept)[2])
        return tf.reshape(index, [groups, num_experts * capacity])

    def load(self):
        """`<float32>[E]`, choices that each expert computes."""
        return tf.reduce_sum(tf.cast(self.filled, tf.float32), [0, 2])

    def importance(self):
        """`<float32>[E]`, the sum of each expert's gates, before any drop."""
        return importance(self.gates, self.experts, self.demand.shape[-1])

    def real(self):
        """`<bool>[G, S]`, tokens that are not masked."""
        return self.experts[:, 0] < self.demand.shape[-1]


class DroplessPlan(NamedTuple):
    """A token-choice plan without capacity: choices sorted by expert, none dropped.

    Fields: as in `RoutingPlan`, but
        slots: `<int32>[G, K, S]`, the row of each choice among the sorted ones.
        tokens: `<int32>[N]`, the token (of all `G * S`) of each sorted row, `N = G * K * S`.
            Choices of no expert come last.
        counts: `<int32>[E]`, rows of each expert.
    """

    experts: tf.Tensor
    gates: tf.Tensor
    kept: tf.Tensor
    slots: tf.Tensor
    tokens: tf.Tensor
    counts: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]

    @property
    def demand(self):
        """`<int32>[1, E]`, choices that asked for each expert."""
        return tf.expand_dims(self.counts, 0)

    def dispatch(self, tokens):
        """`<dtype>[G, S, D]` -> `<dtype>[N, D]`, sorted by expert."""
        rows = tf.reshape(tokens, [1, -1, tokens.shape[-1]])
        rows = fill_slots(rows, self.tokens[None], _flat(self.slots), _flat(self.kept))
        return tf.squeeze(rows, 0)

    def combine(self, outputs):
        """`<dtype>[N, D]` -> `<dtype>[G, S, D]`, summed over a token's choices by gate."""
        groups, _, size = shape_of(self.slots)
        gates, slots, kept = _flat(self.gates), _flat(self.slots), _flat(self.kept)
        tokens = sum_slots(tf.expand_dims(outputs, 0), gates, self.tokens[None], slots, kept)
        return tf.reshape(tokens, [groups, size, outputs.shape[-1]])

    def load(self):
        """`<float32>[E]`, choices that each expert computes."""
        return tf.cast(self.counts, tf.float32)

    def importance(self):
        """`<float32>[E]`, the sum of each expert's gates."""
        return importance(self.gates, self.experts, self.counts.shape[0])

    def real(self):
        """`<bool>[G, S]`, tokens that are not masked."""
        return self.experts[:, 0] < self.counts.shape[0]


class DensePlan(NamedTuple):
    """Every expert computes every token.

    Fields:
        gates: `<float32>[G, S, E]`, the weight of each expert's output; 0 for a masked token.
        unmasked: `<bool>[G, S]`, tokens that are not masked.
        probabilities, losses: as in `RoutingPlan`.
    """

    gates: tf.Tensor
    unmasked: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]

    @property
    def counts(self):
        """Rows per expert: `None`, since every expert has them all."""
        return None

    @property
    def demand(self):
        """`<int32>[1, E]`, tokens per expert: all of them."""
        tokens = tf.reduce_sum(tf.cast(self.unmasked, tf.int32))
        return tf.fill([1, self.gates.shape[-1]], tokens)

    def dispatch(self, tokens):
        """`<dtype>[G, S, D]` -> `<dtype>[E, G * S, D]`."""
        tokens = tf.where(tf.expand_dims(self.unmasked, -1), tokens, tf.zeros([], tokens.dtype))
        rows = tf.reshape(tokens, [1, -1, tokens.shape[-1]])
        return tf.tile(rows, [self.gates.shape[-1], 1, 1])

    def combine(self, outputs):
        """`<dtype>[E, G * S, D]` -> `<dtype>[G, S, D]`."""
        groups, size, num_experts = shape_of(self.gates)
        gates = tf.reshape(self.gates, [groups * size, 1, num_experts])
        rows = tf.transpose(tf.cast(outputs, tf.float32), [1, 0, 2])
        rows = tf.where(tf.reshape(self.unmasked, [-1, 1, 1]), rows, 0.0)
        tokens = tf.matmul(gates, rows)  # [G * S, 1, D]
        tokens = tf.reshape(tokens, [groups, size, outputs.shape[-1]])
        return tf.cast(tokens, outputs.dtype)

    def load(self):
        """`<float32>[E]`, tokens that each expert computes."""
        return tf.cast(tf.reshape(self.demand, [-1]), tf.float32)

    def importance(self):
        """`<float32>[E]`, the sum of each expert's gates."""
        return tf.reduce_sum(self.gates, [0, 1])

    def real(self):
        """`<bool>[G, S]`, tokens that are not masked."""
        return self.unmasked


def importance(gates, experts, num_experts):
    """Importance of each expert: the sum of its gates over the batch (Shazeer et al. 2017, eq. 6).

    Args:
        gates: `<float32>[G, K, S]`.
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `<float32>[E]`.
    """
    sums = tf.math.unsorted_segment_sum(
        tf.reshape(gates, [-1]), tf.reshape(experts, [-1]), num_experts + 1
    )
    return sums[:num_experts]


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
        slots=tf.reshape(tf.math.invert_permutation(order), [groups, top_k, size]),
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
    counts = tf.math.unsorted_segment_sum(tf.ones_like(ids), ids, groups * buckets)
    return tf.reshape(counts, [groups, buckets])[:, :num_experts]


def _flat(choices):
    """`<dtype>[G, K, S]` -> `<dtype>[1, K, G * S]`, all groups as one."""
    groups, top_k, size = shape_of(choices)
    return tf.reshape(tf.transpose(choices, [1, 0, 2]), [1, top_k, groups * size])
