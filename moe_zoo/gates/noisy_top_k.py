"""Noisy top-k gates."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo import losses
from moe_zoo.plans import EveryRow
from moe_zoo.routers.noisy_top_k import LEAST_STDDEV, noisy_top_k_route
from moe_zoo.validation import check_at_least, check_int

from .gate import Gate, Gates


@keras.saving.register_keras_serializable(package="moe_zoo")
class NoisyTopKGate(Gate):
    """Sparse gates: each task takes its K best experts after learned noise.

    `g^t(x) = softmax(KeepTopK(H^t(x), K))` with `H^t(x) = W_t x + N(0, 1) * softplus(V_t x)`,
    equations 3 to 5 of Shazeer et al. (2017) for each task; no noise in evaluation. All experts are
    computed, but of the others no gradient comes back. The losses are
    `importance_loss_weight * CV(Importance)^2` and `load_loss_weight * CV(Load)^2` over the rows of
    all tasks, so that tasks may take different experts as long as each is taken by some task.

    Args:
        top_k: `int`, K, experts of a row for each task.
        importance_loss_weight: `float`.
        load_loss_weight: `float`.
        kernel_initializer: Keras initializer of `W`; `V` starts at zero.
        hidden_dims: units of hidden ReLU layers, of a network for each task; none is a linear gate.
        temperature: `float`, divides the logits: below 1 gates are sharper, above 1 more even.
        dropout: `float`, chance of an expert to be left out of a task's mixture, in training; one
            mask for all rows of a batch, never all experts, the others' gates grow to the same sum.
        use_bias: `bool`.
        num_tasks: `int`, T. The layer that owns the gate sets it; give it to use a gate alone.
        num_experts: `int`, E, likewise.
        seed: `int` or `None`, of dropout and noise.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If a size or temperature is not positive, a weight is negative, or `top_k >
            num_experts`.

    Example:

    >>> gate = NoisyTopKGate(top_k=2, num_tasks=3, num_experts=5)
    >>> gates = gate(keras.random.normal((7, 8)), training=True)
    >>> int(tf.math.count_nonzero(gates.gates)), sorted(gates.losses)  # 7 * 3 * 2
    (42, ['importance_loss', 'load_loss'])

    Reference: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
        Mixture-of-Experts Layer", ICLR 2017, arXiv 1701.06538.

    Differs from the paper in: a gate for each task, `W` that does not start at zero, a floor of
    1e-6 under the noise's deviation; temperature, hidden layers, dropout and bias, off by default.
    """

    loss_names = ("importance_loss", "load_loss")

    def __init__(
        self,
        top_k: int = 2,
        importance_loss_weight: float = 0.01,
        load_loss_weight: float = 0.01,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        hidden_dims: Sequence[int] = (),
        temperature: float = 1.0,
        dropout: float = 0.0,
        use_bias: bool = False,
        num_tasks: int | None = None,
        num_experts: int | None = None,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            hidden_dims=hidden_dims,
            temperature=temperature,
            dropout=dropout,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            num_tasks=num_tasks,
            num_experts=num_experts,
            seed=seed,
            name=name,
            **kwargs,
        )
        self.top_k = check_int("top_k", top_k, least=1)
        self.importance_loss_weight = check_at_least(
            "importance_loss_weight", importance_loss_weight, 0.0
        )
        self.load_loss_weight = check_at_least("load_loss_weight", load_loss_weight, 0.0)

    def num_logits(self) -> int:
        return self.num_experts

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        kernel, _ = self.layers_weights[-1]
        self.noise_kernel = self.add_weight(
            name="noise_kernel", shape=kernel.shape, initializer="zeros"
        )

    def select(self, logits: tf.Tensor, hidden: tf.Tensor, training: bool | None) -> Gates:
        logits = tf.transpose(logits, [1, 0, 2])  # [T, B, E]: a task is a group
        stddev = None
        if training:
            raw = EveryRow().dense(hidden, self.noise_kernel)
            stddev = tf.maximum(tf.nn.softplus(tf.transpose(raw, [1, 0, 2])), LEAST_STDDEV)
        seed = self.seed_generator.next() if training else None
        choices, noisy = noisy_top_k_route(logits, self.top_k, stddev, seed)

        def load_loss() -> tf.Tensor:
            chance = losses.selection_probability(logits, noisy, stddev, self.top_k)
            return losses.load_loss(chance)

        def importance_loss() -> tf.Tensor:
            return losses.importance_loss(choices.gates, choices.experts, self.num_experts)

        gates = tf.add_n(
            [
                tf.where(expert[..., None] == tf.range(self.num_experts), gate[..., None], 0.0)
                for expert, gate in zip(
                    tf.unstack(choices.experts, axis=1),
                    tf.unstack(choices.gates, axis=1),
                    strict=True,
                )
            ]
        )
        gates, probabilities = (tf.transpose(x, [1, 0, 2]) for x in (gates, choices.probabilities))
        auxiliary = {"load_loss": load_loss, "importance_loss": importance_loss}
        return Gates(gates, probabilities, auxiliary)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "importance_loss_weight": self.importance_loss_weight,
            "load_loss_weight": self.load_loss_weight,
        }
