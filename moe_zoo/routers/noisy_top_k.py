"""Noisy top-k gating: the router of the sparsely-gated mixture-of-experts layer."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.validation import check_at_least

from .choices import Choices, scores_of, top_experts
from .scorer import on_each_device
from .token_choice import TokenChoiceRouter

# Keeps the division in P(x, i) finite where softplus underflows.
LEAST_STDDEV = 1e-6


def noisy_top_k_route(
    logits: tf.Tensor,
    top_k: int,
    noise_stddev: tf.Tensor | None = None,
    seed: tf.Tensor | None = None,
) -> tuple[Choices, tf.Tensor]:
    """Choose by `G(x) = softmax(KeepTopK(H(x), K))` with `H = logits + N(0, 1) * stddev`.

    Equations 3 to 5 of Shazeer et al. (2017).

    Args:
        logits: `<float32>[G, S, E]`, `x W_g`.
        top_k: `int`, K.
        noise_stddev: `<float32>[G, S, E]` or `None` for no noise.
        seed: `<int>[2]`, of the noise.

    Returns:
        `(Choices, <float32>[G, S, E])`, the choices without losses and the noisy logits.
    """
    noisy = logits
    if noise_stddev is not None:
        noise = on_each_device(tf.random.stateless_normal(tf.shape(logits), seed))
        noisy += noise_stddev * noise
    experts = top_experts(noisy, top_k)
    gates = tf.nn.softmax(scores_of(experts, noisy), axis=1)
    return Choices(experts, gates, logits, tf.nn.softmax(logits), {}), noisy


@keras.saving.register_keras_serializable(package="moe_zoo")
class NoisyTopKRouter(TokenChoiceRouter):
    """Noisy top-k gating: the K best experts after learned noise, softmax over those K.

    `H(x)_i = (x W_g)_i + N(0, 1) * softplus((x W_noise)_i)`, `G(x) = softmax(KeepTopK(H(x), K))`.
    The losses are `importance_loss_weight * CV(Importance)^2` and `load_loss_weight * CV(Load)^2`,
    the load estimated smoothly by the chance that an expert would be chosen if its noise were drawn
    again. Without noise (evaluation) the K largest clean logits are chosen. Both matrices start at
    zero, so the load starts balanced, all of it noise.

    Args:
        top_k: `int`, experts per token; at least 2 for the gate to get a gradient from the task.
        capacity_factor: `float` or `None` (dropless, as in the paper), slots over the fair share in
            training.
        eval_capacity_factor: `float` or `None`, the same for evaluation and prediction.
        importance_loss_weight: `float`, w_importance.
        load_loss_weight: `float`, w_load.
        kernel_initializer: of `W_g`; `W_noise` starts at zero.
        min_capacity: `int`, the least number of slots of an expert in a group.
        expert_capacity: `int` or `None`, slots of an expert in a group whatever its size, in place
            of the factors.
        batch_priority: `bool`, tokens with the largest gate get their slots first, instead of token
            order (Riquelme et al. 2021). Not for a causal model.
        jitter: `float`, relative width of the multiplicative noise on the router's own input, in
            training.
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

    >>> router = NoisyTopKRouter(top_k=2, num_experts=4)
    >>> plan = router(keras.random.normal((1, 16, 8)), training=True)
    >>> sorted(plan.losses)
    ['importance_loss', 'load_loss']

    Reference: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
        Mixture-of-Experts Layer", ICLR 2017, arXiv 1701.06538.

    Differs from the paper in: capacity (the paper is dropless); a floor of 1e-6 under the noise's
    deviation; with `top_k >= num_experts`, where the paper's load is undefined, every expert's
    chance is 1.
    """

    loss_names = ("importance_loss", "load_loss", "z_loss")

    def __init__(
        self,
        top_k: int = 2,
        capacity_factor: float | None = 1.25,
        eval_capacity_factor: float | None = 2.0,
        importance_loss_weight: float = 0.1,
        load_loss_weight: float = 0.1,
        kernel_initializer: str | keras.initializers.Initializer = "zeros",
        min_capacity: int = 4,
        expert_capacity: int | None = None,
        batch_priority: bool = False,
        jitter: float = 0.0,
        z_loss_weight: float = 0.0,
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
        self.importance_loss_weight = check_at_least(
            "importance_loss_weight", importance_loss_weight, 0.0
        )
        self.load_loss_weight = check_at_least("load_loss_weight", load_loss_weight, 0.0)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        self.noise_kernel = self.add_weight(
            name="noise_kernel", shape=self.kernel.shape, initializer="zeros"
        )

    def route(self, tokens: tf.Tensor, mask: tf.Tensor | None, training: bool | None) -> Choices:
        logits = self.logits(tokens)
        if not training:
            return noisy_top_k_route(logits, self.top_k)[0]
        raw = tf.matmul(tokens, tf.convert_to_tensor(self.noise_kernel))
        stddev = tf.maximum(tf.nn.softplus(raw), LEAST_STDDEV)
        seed = self.seed_generator.next()
        choices, noisy = noisy_top_k_route(logits, self.top_k, stddev, seed)

        def load_loss() -> tf.Tensor:
            chance = losses.selection_probability(logits, noisy, stddev, self.top_k)
            return losses.load_loss(chance, mask)

        def importance_loss() -> tf.Tensor:
            gates = choices.gates
            if mask is not None:  # no mask[:, None], which DTensor cannot place in every graph
                gates = tf.where(tf.expand_dims(mask, 1), gates, 0.0)
            return losses.importance_loss(gates, choices.experts, self.num_experts)

        return choices._replace(losses={"load_loss": load_loss, "importance_loss": importance_loss})

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "importance_loss_weight": self.importance_loss_weight,
            "load_loss_weight": self.load_loss_weight,
        }
