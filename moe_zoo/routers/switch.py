"""Switch routing: the best expert only."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_at_least

from .choices import Choices, scores_of, top_experts, with_balance_loss
from .token_choice import TokenChoiceRouter


def switch_route(logits: tf.Tensor, top_k: int = 1) -> Choices:
    """Choose the K largest of `p = softmax(x W)`, with their probabilities as gates.

    Equations 1 and 2 of Fedus et al. (2022). The gates are not renormalized: with one choice the
    gate would be 1, and the router would get no gradient.

    Args:
        logits: `<float32>[G, S, E]`.
        top_k: `int`, K.

    Returns:
        `Choices` without losses.
    """
    probabilities = tf.nn.softmax(logits)
    experts = top_experts(probabilities, top_k)
    return Choices(experts, scores_of(experts, probabilities), logits, probabilities, {})


@keras.saving.register_keras_serializable(package="moe_zoo")
class SwitchRouter(TokenChoiceRouter):
    """Switch routing: each token goes to its best expert, weighted by that expert's probability.

    `y = p_i(x) E_i(x)`, `i = argmax p(x)`, `p = softmax(x W)`; tokens over capacity are dropped.
    The balance loss is `balance_loss_weight * E * sum_e f_e P_e`, equal to the weight itself when
    routing is uniform.

    Args:
        top_k: `int`, experts per token. More than one is not in the paper; gates stay unnormalized.
        capacity_factor: `float` or `None` (dropless), slots over the fair share in training.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        jitter: `float`, width of the multiplicative noise on the router's input, in training.
        balance_loss_weight: `float`, alpha.
        kernel_initializer: defaults to the paper's truncated normal of variance `0.1 / fan_in`.
        min_capacity: `int`, the least number of slots of an expert in a group.
        expert_capacity: `int` or `None`, slots of an expert in a group whatever its size, in place
            of the factors.
        batch_priority: `bool`, tokens with the largest gate get their slots first, instead of token
            order (Riquelme et al. 2021). Not for a causal model.
        z_loss_weight: `float`, weight of the z-loss (Zoph et al. 2022).
        num_experts: `int`, E. An `MoE` layer sets it; give it to use a router alone.
        route_padding: `bool`, masked tokens are routed like all others: they take slots and count
            in losses and statistics.
        seed: `int` or `None`, of all that is drawn.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If a size is not positive, a weight is negative, or `top_k > num_experts`.

    Example:

    >>> router = SwitchRouter(num_experts=4)
    >>> plan = router(keras.random.normal((1, 16, 8)))
    >>> tuple(plan.experts.shape)
    (1, 1, 16)

    Reference: Fedus, Zoph and Shazeer, "Switch Transformers", JMLR 2022, arXiv 2101.03961.

    Differs from the paper in: `min_capacity`, which the paper does not have.
    """

    loss_names = ("balance_loss", "z_loss")

    def __init__(
        self,
        top_k: int = 1,
        capacity_factor: float | None = 1.25,
        eval_capacity_factor: float | None = 2.0,
        jitter: float = 0.01,
        balance_loss_weight: float = 0.01,
        kernel_initializer: str | keras.initializers.Initializer | None = None,
        min_capacity: int = 4,
        expert_capacity: int | None = None,
        batch_priority: bool = False,
        z_loss_weight: float = 0.0,
        num_experts: int | None = None,
        route_padding: bool = False,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.VarianceScaling(
                scale=0.1, mode="fan_in", distribution="truncated_normal"
            )
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
        self.balance_loss_weight = check_at_least("balance_loss_weight", balance_loss_weight, 0.0)

    def route(self, tokens: tf.Tensor, mask: tf.Tensor | None, training: bool | None) -> Choices:
        return with_balance_loss(switch_route(self.logits(tokens), self.top_k), mask)

    def get_config(self) -> dict:
        return {**super().get_config(), "balance_loss_weight": self.balance_loss_weight}
