"""The plan without capacity: choices sorted by expert, none dropped."""

from typing import Any, NamedTuple

import tensorflow as tf

from .assign import sort_by_expert
from .gathers import fill_slots, shape_of, sum_slots
from .layouts import SortedRows
from .plan import importance, pairs


class DroplessPlan(NamedTuple):
    """A token-choice plan without capacity.

    Fields:
        experts: `<int32>[G, K, S]`, the expert that each token asks for; E where it asks for none.
        gates: `<float32>[G, K, S]`, the weight of that expert's output.
        kept: `<bool>[G, K, S]`, whether an expert computes the choice.
        slots: `<int32>[G, K, S]`, the row of each choice among the sorted ones.
        tokens: `<int32>[N]`, the token (of all `G * S`) of each sorted row, `N = G * K * S`.
            Choices of no expert come last.
        counts: `<int32>[E]`, rows of each expert.
        probabilities: `<float32>[G, S, E]`, the router's softmax over all experts.
        losses: `dict` of `<float32>[]`, the weighted auxiliary losses by name.
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
    def layout(self) -> SortedRows:
        return SortedRows(self.counts)

    @property
    def dropless(self) -> bool:
        return True

    def dispatch(self, tokens: tf.Tensor) -> tf.Tensor:
        """Sort by expert: `<dtype>[G, S, D]` -> `<dtype>[N, D]`."""
        rows = tf.reshape(tokens, [1, -1, tokens.shape[-1]])
        rows = fill_slots(rows, self.tokens[None], _flat(self.slots), _flat(self.kept))
        return tf.squeeze(rows, 0)

    def combine(self, outputs: tf.Tensor) -> tf.Tensor:
        """Sum a token's choices by gate: `<dtype>[N, D]` -> `<dtype>[G, S, D]`."""
        groups, _, size = shape_of(self.slots)
        gates, slots, kept = _flat(self.gates), _flat(self.slots), _flat(self.kept)
        tokens = sum_slots(tf.expand_dims(outputs, 0), gates, self.tokens[None], slots, kept)
        return tf.reshape(tokens, [groups, size, outputs.shape[-1]])

    def load(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that each expert computes."""
        return tf.cast(self.counts, tf.float32)

    def demand(self) -> tf.Tensor:
        """Return `<float32>[E]`, the choices that asked for each expert: all are computed."""
        return self.load()

    def importance(self) -> tf.Tensor:
        """Return `<float32>[E]`, the sum of each expert's gates."""
        return importance(self.gates, self.experts, self.counts.shape[0])

    def token_mask(self) -> tf.Tensor:
        """Return `<bool>[G, S]`, true for tokens that are not masked."""
        return self.experts[:, 0] < self.counts.shape[0]

    def pairs(self) -> tf.Tensor:
        """Return `<float32>[E, E]`, tokens that ask for two experts."""
        return pairs(self.experts, self.counts.shape[0])

    def choices(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return `(experts, gates, kept)`, each `[G, K, S]`."""
        return self.experts, self.gates, self.kept


def plan_dropless(choices: Any, num_experts: int) -> DroplessPlan:
    """Sort all choices by expert; none is dropped.

    Args:
        choices: `routers.Choices`.
        num_experts: `int`, E.

    Returns:
        `DroplessPlan`.
    """
    slots, tokens, counts = sort_by_expert(choices.experts, num_experts)
    return DroplessPlan(
        experts=choices.experts,
        gates=choices.gates,
        kept=choices.experts < num_experts,
        slots=slots,
        tokens=tokens,
        counts=counts,
        probabilities=choices.probabilities,
        losses=choices.losses,
    )


def _flat(choices: tf.Tensor) -> tf.Tensor:
    """`<dtype>[G, K, S]` -> `<dtype>[1, K, G * S]`, all groups as one."""
    groups, top_k, size = shape_of(choices)
    return tf.reshape(tf.transpose(choices, [1, 0, 2]), [1, top_k, groups * size])
