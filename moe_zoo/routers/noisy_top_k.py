"""Noisy top-k gating: the router of the sparsely-gated mixture-of-experts layer."""

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.validation import check_at_least

from .router import Choices, TokenChoiceRouter, on_each_device, scores_of, top_experts

# Keeps the division in P(x, i) finite where softplus underflows.
LEAST_STDDEV = 1e-6


def noisy_top_k_route(logits, top_k, noise_stddev=None, seed=None):
    """`G(x) = softmax(KeepTopK(H(x), K))` with `H = logits + N(0, 1) * stddev`.

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
        **kwargs: further arguments of `TokenChoiceRouter`: `min_capacity`, `jitter`,
            `z_loss_weight`, `batch_priority`, `num_experts`, `seed`, `name`.

    Raises:
        ValueError: a size that is not positive, a negative weight, or `top_k > num_experts`.

    Example:

    >>> router = NoisyTopKRouter(top_k=2, num_experts=4)
    >>> plan = router(keras.random.normal((1, 16, 8)), training=True)
    >>> sorted(plan.losses)
    ['importance_loss', 'load_loss']

    Reference: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
        Mixture-of-Experts Layer",
    ICLR 2017, arXiv 1701.06538.

    Differs from the paper in: capacity (the paper is dropless); a floor of 1e-6 under the noise's
        deviation; with
    `top_k >= num_experts`, where the paper's load is undefined, every expert's chance is 1.
    """

    loss_names = ("importance_loss", "load_loss", "z_loss")

    def __init__(
        self,
        top_k=2,
        capacity_factor=1.25,
        eval_capacity_factor=2.0,
        importance_loss_weight=0.1,
        load_loss_weight=0.1,
        kernel_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            top_k=top_k,
            capacity_factor=capacity_factor,
            eval_capacity_factor=eval_capacity_factor,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        self.importance_loss_weight = check_at_least(
            "importance_loss_weight", importance_loss_weight, 0.0
        )
        self.load_loss_weight = check_at_least("load_loss_weight", load_loss_weight, 0.0)

    def build(self, input_shape):
        super().build(input_shape)
        self.noise_kernel = self.add_weight(
            name="noise_kernel", shape=self.kernel.shape, initializer="zeros"
        )

    def route(self, tokens, mask, training):
        logits = self.logits(tokens)
        if not training:
            choices, _ = noisy_top_k_route(logits, self.top_k)
        else:
            raw = tf.matmul(tokens, tf.convert_to_tensor(self.noise_kernel))
            stddev = tf.maximum(tf.nn.softplus(raw), LEAST_STDDEV)
            seed = self.seed_generator.next()
            choices, noisy = noisy_top_k_route(logits, self.top_k, stddev, seed)
            if self.load_loss_weight:
                chance = losses.selection_probability(logits, noisy, stddev, self.top_k)
                choices.losses["load_loss"] = self.load_loss_weight * losses.load_loss(chance, mask)
        if training and self.importance_loss_weight:
            gates = choices.gates
            if mask is not None:  # no mask[:, None], which DTensor cannot place in every graph
                gates = tf.where(tf.expand_dims(mask, 1), gates, 0.0)
            loss = losses.importance_loss(gates, choices.experts, self.num_experts)
            choices.losses["importance_loss"] = self.importance_loss_weight * loss
        return choices

    def get_config(self):
        return {
            **super().get_config(),
            "importance_loss_weight": self.importance_loss_weight,
            "load_loss_weight": self.load_loss_weight,
        }
