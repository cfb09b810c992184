"""GShard routing: two experts, the second one by a policy."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_at_least, check_choice

from .choices import Choices, scores_of, top_experts, with_balance_loss
from .scorer import on_each_device
from .token_choice import TokenChoiceRouter

POLICIES = ("random", "all", "none", "threshold", "sampling")


def gshard_route(
    logits: tf.Tensor,
    top_k: int = 2,
    policy: str = "all",
    threshold: float = 0.2,
    seed: tf.Tensor | None = None,
) -> Choices:
    """Choose the top K of the softmax, renormalize their gates, admit later ones by a policy.

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
    a first choice over capacity still counts in its expert's queue. Gates are not renormalized
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
        second_expert_threshold: `float`, the least renormalized gate under `"threshold"`.
        balance_loss_weight: `float`.
        min_capacity: `int`, the least number of slots of an expert in a group.
        expert_capacity: `int` or `None`, slots of an expert in a group whatever its size, in place
            of the factors.
        batch_priority: `bool`, tokens with the largest gate get their slots first, instead of token
            order (Riquelme et al. 2021). Not for a causal model.
        jitter: `float`, relative width of the multiplicative noise on the router's own input, in
            training.
        z_loss_weight: `float`, weight of the z-loss (Zoph et al. 2022).
        kernel_initializer: Keras initializer of the gate matrix.
        num_experts: `int`, E. An `MoE` layer sets it; give it to use a router alone.
        route_padding: `bool`, masked tokens are routed like all others: they take slots and count
            in losses and statistics.
        seed: `int` or `None`, of all that is drawn.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If the policy is unknown, a size is not positive, a weight is negative, or
            `top_k > num_experts`.

    Example:

    >>> router = GShardRouter(num_experts=4, second_expert_policy="all")
    >>> plan = router(keras.random.normal((1, 16, 8)))
    >>> tuple(plan.experts.shape)
    (1, 2, 16)

    Reference: Lepikhin et al., "GShard: Scaling Giant Models with Conditional Computation and
        Automatic Sharding", ICLR 2021, arXiv 2006.16668.

    Differs from the paper in: the loss's scale (above), `min_capacity`, the policies besides
    `random`, and `top_k` other than 2, for which `random` admits a choice with probability
    `min(1, K * g_k)`.
    """

    loss_names = ("balance_loss", "z_loss")

    def __init__(
        self,
        top_k: int = 2,
        capacity_factor: float | None = 1.25,
        eval_capacity_factor: float | None = 2.0,
        second_expert_policy: str = "random",
        second_expert_threshold: float = 0.2,
        balance_loss_weight: float = 0.01,
        min_capacity: int = 4,
        expert_capacity: int | None = None,
        batch_priority: bool = False,
        jitter: float = 0.0,
        z_loss_weight: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        num_experts: int | None = None,
        route_padding: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            top_k=top_k,
            capacity_factor=capacity_factor,
            eval_capacity_factor=eval_capacity_factor,
            min_capacity=min_capacity,
            expert_capacity=expert_capacity,
            batch_priority=batch_priority,
            jitter=jitter,
            z_loss_weight=z_loss_weight,
            kernel_initializer=kernel_initializer,
            num_experts=num_experts,
            route_padding=route_padding,
            seed=seed,
            name=name,
            **kwargs,
        )
        self.second_expert_policy = check_choice(
            "second_expert_policy", second_expert_policy, POLICIES, "'random' is the paper's."
        )
        self.second_expert_threshold = check_at_least(
            "second_expert_threshold", second_expert_threshold, 0.0
        )
        self.balance_loss_weight = check_at_least("balance_loss_weight", balance_loss_weight, 0.0)

    def route(self, tokens: tf.Tensor, mask: tf.Tensor | None, training: bool | None) -> Choices:
        policy, seed = self.second_expert_policy, None
        if policy in ("random", "sampling"):
            if training:
                seed = self.seed_generator.next()
            else:
                policy = "all"
        logits = self.logits(tokens)
        choices = gshard_route(logits, self.top_k, policy, self.second_expert_threshold, seed)
        return with_balance_loss(choices, mask)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "second_expert_policy": self.second_expert_policy,
            "second_expert_threshold": self.second_expert_threshold,
            "balance_loss_weight": self.balance_loss_weight,
        }
