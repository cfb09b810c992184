"""The plan with a fixed number of slots per expert."""

from fractions import Fraction
from typing import Any, NamedTuple

import tensorflow as tf

from moe_zoo.scopes import EXPERT, GROUP, constrain

from .assign import assign_slots
from .gathers import fill_slots, shape_of, sum_slots
from .layouts import Slots
from .plan import importance, pairs


class RoutingPlan(NamedTuple):
    """A token-choice plan with a fixed number of slots per expert.

    Fields:
        experts: `<int32>[G, K, S]`, the expert that each token asks for; E where it asks for none.
        gates: `<float32>[G, K, S]`, the weight of that expert's output, before any drop.
        kept: `<bool>[G, K, S]`, whether the expert had a slot left.
        slots: `<int32>[G, K, S]`, the slot in `[E * C]` of each kept choice.
        tokens: `<int32>[G, E, C]`, the token that fills each slot.
        filled: `<bool>[G, E, C]`, whether the slot is in use.
        asked: `<int32>[G, E]`, choices that asked for each expert, dropped ones included.
        probabilities: `<float32>[G, S, E]`, the router's softmax over all experts.
        losses: `dict` of `<float32>[]`, the weighted auxiliary losses by name.
    """

    experts: tf.Tensor
    gates: tf.Tensor
    kept: tf.Tensor
    slots: tf.Tensor
    tokens: tf.Tensor
    filled: tf.Tensor
    asked: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]

    @property
    def layout(self) -> Slots:
        return Slots()

    @property
    def dropless(self) -> bool:
        return False

    def dispatch(self, tokens: tf.Tensor) -> tf.Tensor:
        """Move `<dtype>[G, S, D]` -> `<dtype>[E, G * C, D]`; an empty slot holds zeros."""
        groups, num_experts, capacity = shape_of(self.tokens)
        width = tokens.shape[-1]
        slots = fill_slots(tokens, self._index(), self.slots, self.kept)  # [G, E * C, D]
        slots = constrain(tf.reshape(slots, [groups, num_experts, capacity, width]), GROUP)
        slots = constrain(tf.transpose(slots, [1, 0, 2, 3]), None, GROUP)
        slots = constrain(slots, EXPERT, GROUP)  # across devices: all to all
        return tf.reshape(slots, [num_experts, groups * capacity, width])

    def combine(self, outputs: tf.Tensor) -> tf.Tensor:
        """Sum a token's kept choices by gate: `<dtype>[E, G * C, D]` -> `<dtype>[G, S, D]`."""
        groups, num_experts, capacity = shape_of(self.tokens)
        width = outputs.shape[-1]
        outputs = tf.reshape(outputs, [num_experts, groups, capacity, width])
        outputs = constrain(outputs, EXPERT, GROUP)
        outputs = constrain(outputs, None, GROUP)  # and back
        outputs = constrain(tf.transpose(outputs, [1, 0, 2, 3]), GROUP)
        outputs = tf.reshape(outputs, [groups, num_experts * capacity, width])
        tokens = sum_slots(outputs, self.gates, self._index(), self.slots, self.kept)
        return constrain(tokens, GROUP)

    def _index(self) -> tf.Tensor:
        """`<int32>[G, E * C]`, the token of each slot; S if it is empty."""
        groups, num_experts, capacity = shape_of(self.tokens)
        index = tf.where(self.filled, self.tokens, tf.shape(self.kept)[2])
        return tf.reshape(index, [groups, num_experts * capacity])

    def load(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that each expert computes."""
        return tf.reduce_sum(tf.cast(self.filled, tf.float32), [0, 2])

    def demand(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that asked for each expert, dropped ones included."""
        return tf.cast(tf.reduce_sum(self.asked, 0), tf.float32)

    def importance(self) -> tf.Tensor:
        """Return `<float32>[E]`, the sum of each expert's gates, before any drop."""
        return importance(self.gates, self.experts, self.asked.shape[-1])

    def token_mask(self) -> tf.Tensor:
        """Return `<bool>[G, S]`, true for tokens that are not masked."""
        return self.experts[:, 0] < self.asked.shape[-1]

    def pairs(self) -> tf.Tensor:
        """Return `<float32>[E, E]`, tokens that ask for two experts."""
        return pairs(self.experts, self.asked.shape[-1])

    def choices(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return `(experts, gates, kept)`, each `[G, K, S]`."""
        return self.experts, self.gates, self.kept


def expert_capacity(
    group_size: Any, num_experts: int, top_k: int, capacity_factor: float, min_capacity: int = 1
) -> Any:
    """Return the slots of an expert in a group.

    `min(S, max(min_capacity, ceil(factor * K * S / E)))`.

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


def plan_with_capacity(
    choices: Any,
    num_experts: int,
    capacity: Any,
    limit: tf.Tensor | None = None,
    priority: tf.Tensor | None = None,
) -> RoutingPlan:
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
            order (batch-prioritized routing, Riquelme et al. 2021).

    Returns:
        `RoutingPlan`.
    """
    assigned = assign_slots(choices.experts, num_experts, capacity, limit, priority)
    return RoutingPlan(
        experts=choices.experts,
        gates=choices.gates,
        kept=assigned.kept,
        slots=assigned.slots,
        tokens=assigned.tokens,
        filled=assigned.filled,
        asked=assigned.asked,
        probabilities=choices.probabilities,
        losses=choices.losses,
    )
