"""Switch routing: the best expert only."""

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.validation import check_at_least

from .router import Choices, TokenChoiceRouter, scores_of, top_experts


def switch_route(logits, top_k=1):
    """`p = softmax(x W)`; the K largest, with their probabilities as gates.

    Equations 1 and 2 of Fedus et al. (2022).

    The gates are not renormalised: with one choice the gate would be 1 and the router would get no
        gradient.

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
        top_k: `int`, experts per token. More than one is not in the paper; gates stay unnormalised.
        capacity_factor: `float` or `None` (dropless), slots over the fair share in training.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        jitter: `float`, width of the multiplicative noise on the router's input, in training.
        balance_loss_weight: `float`, alpha.
        kernel_initializer: defaults to the paper's truncated normal of variance `0.1 / fan_in`.
        **kwargs: further arguments of `TokenChoiceRouter`: `min_capacity`, `z_loss_weight`,
            `batch_priority`, `num_experts`, `seed`, `name`.

    Raises:
        ValueError: a size that is not positive, a negative weight, or `top_k > num_experts`.

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
        top_k=1,
        capacity_factor=1.25,
        eval_capacity_factor=2.0,
        jitter=0.01,
        balance_loss_weight=0.01,
        kernel_initializer=None,
        **kwargs,
    ):
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.VarianceScaling(
                scale=0.1, mode="fan_in", distribution="truncated_normal"
            )
        super().__init__(
            top_k=top_k,
            capacity_factor=capacity_factor,
            eval_capacity_factor=eval_capacity_factor,
            jitter=jitter,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        self.balance_loss_weight = check_at_least("balance_loss_weight", balance_loss_weight, 0.0)

    def route(self, tokens, mask, training):
        choices = switch_route(self.logits(tokens), self.top_k)
        if training and self.balance_loss_weight:
            loss = losses.balance_loss(choices.probabilities, choices.experts[:, 0], mask)
            choices.losses["balance_loss"] = self.balance_loss_weight * loss
        return choices

    def get_config(self):
        return {**super().get_config(), "balance_loss_weight": self.balance_loss_weight}
