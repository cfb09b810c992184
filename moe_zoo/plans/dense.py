"""The plan in which every expert computes every token."""

from typing import NamedTuple

import tensorflow as tf

from moe_zoo.scopes import EXPERT, GROUP, ROW, constrain

from .gathers import shape_of
from .layouts import EveryRow


class DensePlan(NamedTuple):
    """Every expert computes every token.

    Fields:
        gates: `<float32>[G, S, E]`, the weight of each expert's output; 0 for a masked token.
        mask: `<bool>[G, S]`, true for tokens that are not masked.
        probabilities: `<float32>[G, S, E]`, the router's distribution over all experts.
        losses: `dict` of `<float32>[]`, the weighted auxiliary losses by name.
    """

    gates: tf.Tensor
    mask: tf.Tensor
    probabilities: tf.Tensor
    losses: dict[str, tf.Tensor]

    @property
    def layout(self) -> EveryRow:
        return EveryRow()

    @property
    def dropless(self) -> bool:
        return True

    def dispatch(self, tokens: tf.Tensor) -> tf.Tensor:
        """Flatten `<dtype>[G, S, D]` -> `<dtype>[G * S, D]`; a masked token is zeros."""
        tokens = tf.where(tf.expand_dims(self.mask, -1), tokens, tf.zeros([], tokens.dtype))
        return tf.reshape(tokens, [-1, tokens.shape[-1]])

    def combine(self, outputs: tf.Tensor) -> tf.Tensor:
        """Sum the experts' outputs by gate: `<dtype>[G * S, E, F]` -> `<dtype>[G, S, F]`."""
        groups, size, num_experts = shape_of(self.gates)
        gates = tf.reshape(self.gates, [groups * size, 1, num_experts])
        tokens = tf.cast(weighted_sum(gates, outputs), outputs.dtype)
        return constrain(tf.reshape(tokens, [groups, size, outputs.shape[-1]]), GROUP)

    def load(self) -> tf.Tensor:
        """Return `<float32>[E]`, the tokens to whose output each expert adds."""
        return self.demand()

    def demand(self) -> tf.Tensor:
        """Return `<float32>[E]`, the tokens whose gate for the expert is above 0."""
        used = tf.reduce_sum(tf.cast(self.gates > 0.0, tf.int32), [0, 1])
        return tf.cast(used, tf.float32)

    def importance(self) -> tf.Tensor:
        """Return `<float32>[E]`, the sum of each expert's gates."""
        return tf.reduce_sum(self.gates, [0, 1])

    def token_mask(self) -> tf.Tensor:
        """Return `<bool>[G, S]`, true for tokens that are not masked."""
        return self.mask

    def pairs(self) -> tf.Tensor:
        """Return `<float32>[E, E]`, above the diagonal the tokens with a gate for both experts."""
        used = tf.reshape(tf.cast(self.gates > 0.0, tf.float32), [-1, self.gates.shape[-1]])
        together = tf.matmul(used, used, transpose_a=True)
        return together - tf.linalg.band_part(together, -1, 0)

    def choices(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return `(experts, gates, kept)` of `[G, E, S]`, largest gates first; none for gate 0."""
        order = tf.argsort(-self.gates, axis=-1, stable=True)
        gates = tf.transpose(tf.gather(self.gates, order, batch_dims=2), [0, 2, 1])
        kept = gates > 0.0
        return tf.where(kept, tf.transpose(order, [0, 2, 1]), self.gates.shape[-1]), gates, kept


def weighted_sum(gates: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return `y_t = sum_e g_te y_e` of each row, added up in float32.

    Args:
        gates: `<float32>[M, T, E]`, the weights of each of T sums.
        outputs: `<dtype>[M, E, F]`, each expert's output for the row.

    Returns:
        `<float32>[M, T, F]`.
    """
    outputs = constrain(outputs, ROW, EXPERT)
    gates = constrain(constrain(gates, GROUP), ROW, None, EXPERT)  # and the gradient back
    return constrain(tf.matmul(gates, tf.cast(outputs, tf.float32)), GROUP)
