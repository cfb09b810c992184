"""GShard routing: two experts, the second one by a policy."""

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.validation import check_at_least, check_choice

from .router import Choices, TokenChoiceRouter, on_each_device, scores_of, top_experts

POLICIES = ("random", "all", "none", "threshold", "sampling")


def gshard_route(logits, top_k=2, policy="all", threshold=0.2, seed=None):
    """Top-k of the softmax, gates renormalised among the K, later choices admitted by a policy.

    `g_k <- g_k / sum_j g_j` before any drop and never after (Lepikhin et al. 2021, Algorithm 1).
    Policies for every choice after the first:

        random: admitted with probability `min(1, K * g_k)`; for K = 2 the paper's `2 g_2 > rnd`.
        all: always admitted.        none: never.        threshold: if `g_k > threshold`.
        sampling: drawn without replacement from the softmax with the first choice taken out (Gumbel
            top-k).

    Args:
        logits: `<float32>[G, S, E]`.
        top_k: `int`, K.
        policy: one of the names above.
        threshold: `float`.
        seed: `<int>[2]`, for `random` and `sampling`.

    Returns:
        `Choices` without losses; a refused choice has expert E and keeps its gate.
    """
    num_experts = logits.shape[-1]
    probabilities = tf.nn.softmax(logits)
    experts = top_experts(probabilities, top_k)
    if policy == "sampling" and top_k > 1:
        first = experts[:, :1]
        uniform = tf.random.stateless_uniform(tf.shape(logits), seed, minval=1e-20, maxval=1.0)
        noisy = logits - tf.math.log(-tf.math.log(on_each_device(uniform)))
        taken = tf.one_hot(first[:, 0], num_experts, on_value=True, off_value=False, dtype=tf.bool)
        noisy = tf.where(taken, noisy.dtype.min, noisy)
        experts = tf.concat([first, top_experts(noisy, top_k - 1)], axis=1)
    gates = scores_of(experts, probabilities)
    gates = tf.math.divide_no_nan(gates, tf.reduce_sum(gates, 1, keepdims=True))
    if policy == "random":
        uniform = tf.random.stateless_uniform(tf.shape(gates), seed)
        admitted = top_k * gates > on_each_device(uniform)
    elif policy == "threshold":
        admitted = gates > threshold
    else:
        admitted = tf.fill(tf.shape(gates), policy != "none")
    is_first = tf.reshape(tf.range(top_k) == 0, [1, top_k, 1])
    experts = tf.where(tf.logical_or(is_first, admitted), experts, num_experts)
    return Choices(experts, gates, logits, probabilities, {})


@keras.saving.register_keras_serializable(package="moe_zoo")
class GShardRouter(TokenChoiceRouter):
    """GShard routing: each token's two best experts, the second one by a policy.

    Capacity is per group (`group_size` of `MoE`), first choices are placed before second ones, and
    a first choice over capacity still counts in its expert's queue. Gates are not renormalised
    after a drop. The balance loss is `balance_loss_weight * E * sum_e f_e P_e`: E^2 times the
    paper's `l_aux`, so that its optimum is the weight whatever E is, as the authors' code has it.

    Args:
        top_k: `int`, K; the paper's is 2.
        capacity_factor: `float` or `None` (dropless), slots over the fair share `K * S / E` in
            training. The paper's `C = 2N / (G E)` is a factor of 1.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        second_expert_policy: `"random"` (the paper's), `"all"`, `"none"`, `"threshold"` or
            `"sampling"`. In evaluation `random` and `sampling` become `all`, so that a prediction
            is not random.
        second_expert_threshold: `float`, the least renormalised gate under `"threshold"`.
        balance_loss_weight: `float`.
        **kwargs: further arguments of `TokenChoiceRouter`: `min_capacity`, `jitter`,
            `z_loss_weight`, `batch_priority`, `kernel_initializer`, `num_experts`, `seed`, `name`.

    Raises:
        ValueError: an unknown policy, a size that is not positive, a negative weight, or `top_k >
            num_experts`.

    Example:

    >>> router = GShardRouter(num_experts=4, second_expert_policy="all")
    >>> plan = router(keras.random.normal((1, 16, 8)))
    >>> tuple(plan.experts.shape)
    (1, 2, 16)

    Reference: Lepikhin et al., "GShard: Scaling Giant Models with Conditional Computation and
        Automatic Sharding",
    ICLR 2021, arXiv 2006.16668.

    Differs from the paper in: the loss's scale (above), `min_capacity`, the policies besides
        `random`, and `top_k`
    other than 2, for which `random` admits a choice with probability `min(1, K * g_k)`.
    """

    loss_names = ("balance_loss", "z_loss")

    def __init__(
        self,
        top_k=2,
        capacity_factor=1.25,
        eval_capacity_factor=2.0,
        second_expert_policy="random",
        second_expert_threshold=0.2,
        balance_loss_weight=0.01,
        **kwargs,
    ):
        super().__init__(
            top_k=top_k,
            capacity_factor=capacity_factor,
            eval_capacity_factor=eval_capacity_factor,
            **kwargs,
        )
        self.second_expert_policy = check_choice(
            "second_expert_policy", second_expert_policy, POLICIES, "'random' is the paper's."
        )
        self.second_expert_threshold = check_at_least(
            "second_expert_threshold", second_expert_threshold, 0.0
        )
        self.balance_loss_weight = check_at_least("balance_loss_weight", balance_loss_weight, 0.0)

    def route(self, tokens, mask, training):
        policy, seed = self.second_expert_policy, None
        if policy in ("random", "sampling"):
            if training:
                seed = self.seed_generator.next()
            else:
                policy = "all"
        logits = self.logits(tokens)
        choices = gshard_route(logits, self.top_k, policy, self.second_expert_threshold, seed)
        if training and self.balance_loss_weight:
            loss = losses.balance_loss(choices.probabilities, choices.experts[:, 0], mask)
            choices.losses["balance_loss"] = self.balance_loss_weight * loss
        return choices

    def get_config(self):
        return {
            **super().get_config(),
            "second_expert_policy": self.second_expert_policy,
            "second_expert_threshold": self.second_expert_threshold,
            "balance_loss_weight": self.balance_loss_weight,
        }
