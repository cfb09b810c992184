"""The original's auxiliary losses, over recorded plans."""

from collections.abc import Sequence

import tensorflow as tf

from moe_zoo import losses


def pooled_balance_loss(plans: Sequence) -> tf.Tensor:
    """Return the original's balance loss of a stack, whose sparse blocks are pooled first.

    `E * sum_e f_e P_e`, averaged over rows, where `f_e` and `P_e` are of the tokens of a row in all
    blocks together. In training each of our layers has a loss of its own. The z-loss needs no such
    function: it is the mean over all tokens, and so the mean of the blocks' means.

    Args:
        plans: list of plans of `moe_zoo.scopes.record_plans`, of a stack's sparse blocks, which
            route each row by itself.

    Returns:
        `<float32>[]`, 1 when routing is uniform.
    """
    experts = tf.concat([plan.experts[:, 0] for plan in plans], 1)  # [B, n * T]
    probabilities = tf.concat([plan.probabilities for plan in plans], 1)
    return losses.balance_loss(probabilities, experts)
