"""Routing plans: which expert computes which token, and how tokens travel there and back.

Axis letters, here and everywhere in the library:

    G groups    S tokens in a group    D model width    E experts
    K choices of a token (`top_k`)     C capacity of an expert within a group    F hidden width

A plan is made of integers: every choice of a token knows its slot, and every slot knows its token,
so that dispatch and combine are gathers, and so are their gradients. No tensor of tokens x experts
x capacity is ever built.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from moe_zoo.constrain import BESIDE, EXPERT, GROUP, constrain

from .gathers import fill_slots, shape_of, sum_slots

EVERY_ROW = "every row"  # as `counts` of rows: every expert computes every row


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
        slots = constrain(tf.reshape(slots, [groups, num_experts, capacity, width]), GROUP)
        slots = constrain(tf.transpose(slots, [1, 0, 2, 3]), None, GROUP)
        slots = constrain(slots, EXPERT, GROUP)  # across devices: all to all
        return tf.reshape(slots, [num_experts, groups * capacity, width])

    def combine(self, outputs):
        """`<dtype>[E, G * C, D]` -> `<dtype>[G, S, D]`, a token's kept choices summed by gate."""
        groups, num_experts, capacity = shape_of(self.tokens)
        width = outputs.shape[-1]
        outputs = tf.reshape(outputs, [num_experts, groups, capacity, width])
        outputs = constrain(outputs, EXPERT, GROUP)
        outputs = constrain(outputs, None, GROUP)  # and back
        outputs = constrain(tf.transpose(outputs, [1, 0, 2, 3]), GROUP)
        outputs = tf.reshape(outputs, [groups, num_experts * capacity, width])
        tokens = sum_slots(outputs, self.gates, self._index(), self.slots, self.kept)
        return constrain(tokens, GROUP)

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

    def pairs(self):
        """`<float32>[E, E]`, tokens that ask for both experts, above the diagonal or below it."""
        return pairs(self.experts, self.demand.shape[-1])

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

    def pairs(self):
        """`<float32>[E, E]`, tokens that ask for both experts, above the diagonal or below it."""
        return pairs(self.experts, self.counts.shape[0])

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
        """Rows per expert: all of them."""
        return EVERY_ROW

    @property
    def demand(self):
        """`<int32>[1, E]`, tokens whose gate for the expert is above 0."""
        return tf.expand_dims(tf.reduce_sum(tf.cast(self.gates > 0.0, tf.int32), [0, 1]), 0)

    def dispatch(self, tokens):
        """`<dtype>[G, S, D]` -> `<dtype>[G * S, D]`; a masked token is zeros."""
        tokens = tf.where(tf.expand_dims(self.unmasked, -1), tokens, tf.zeros([], tokens.dtype))
        return tf.reshape(tokens, [-1, tokens.shape[-1]])

    def combine(self, outputs):
        """`<dtype>[G * S, E, F]` -> `<dtype>[G, S, F]`."""
        groups, size, num_experts = shape_of(self.gates)
        gates = tf.reshape(self.gates, [groups * size, 1, num_experts])
        tokens = tf.cast(weigh(gates, outputs), outputs.dtype)
        return constrain(tf.reshape(tokens, [groups, size, outputs.shape[-1]]), GROUP)

    def load(self):
        """`<float32>[E]`, tokens to whose output each expert adds."""
        return tf.cast(tf.reshape(self.demand, [-1]), tf.float32)

    def importance(self):
        """`<float32>[E]`, the sum of each expert's gates."""
        return tf.reduce_sum(self.gates, [0, 1])

    def real(self):
        """`<bool>[G, S]`, tokens that are not masked."""
        return self.unmasked


def weigh(gates, outputs):
    """`y_t = sum_e g_te y_e` of each row, added up in float32.

    Args:
        gates: `<float32>[M, T, E]`, the weights of each of T sums.
        outputs: `<dtype>[M, E, F]`, what every expert made of the row.

    Returns:
        `<float32>[M, T, F]`.
    """
    outputs = constrain(outputs, BESIDE, EXPERT)
    gates = constrain(constrain(gates, GROUP), BESIDE, None, EXPERT)  # and the gradient back
    return constrain(tf.matmul(gates, tf.cast(outputs, tf.float32)), GROUP)


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


def pairs(experts, num_experts):
    """How many tokens ask for two experts at once: one scatter, of `K (K - 1) / 2` for each token.

    Args:
        experts: `<int32>[G, K, S]`, E where a token asks for none.
        num_experts: `int`, E.

    Returns:
        `<float32>[E, E]`, at `[i, j]` the tokens with an earlier choice i and a later one j; with
        its transpose added, each two.
    """
    earlier, later = np.triu_indices(experts.shape[1], 1)
    cells = tf.gather(experts, earlier, axis=1) * (num_experts + 1) + tf.gather(
        experts, later, axis=1
    )
    cells = tf.reshape(cells, [-1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(cells, tf.float32), cells, (num_experts + 1) ** 2
    )
    return tf.reshape(counts, [num_experts + 1, num_experts + 1])[:num_experts, :num_experts]


def _flat(choices):
    """`<dtype>[G, K, S]` -> `<dtype>[1, K, G * S]`, all groups as one."""
    groups, top_k, size = shape_of(choices)
    return tf.reshape(tf.transpose(choices, [1, 0, 2]), [1, top_k, groups * size])
