"""Softmax gates."""

import keras
import tensorflow as tf

from .gate import Gate, Gates


@keras.saving.register_keras_serializable(package="moe_zoo")
class SoftmaxGate(Gate):
    """Softmax gates, one for each task: `g^t(x) = softmax(W_t x)`.

    Section 4.2 of Ma et al. (2018): linear in the input, without a bias.

    Args:
        hidden_dims: units of hidden ReLU layers, of a network for each task; none is a linear gate.
        temperature: `float`, divides the logits: below 1 gates are sharper, above 1 more even.
        dropout: `float`, chance of an expert to be left out of a task's mixture, in training; one
            mask for all rows of a batch, never all experts, the others' gates grow to the same sum.
        use_bias: `bool`.
        kernel_initializer: Keras initializer; each task is drawn as it would be alone.
        num_tasks: `int`, T. The layer that owns the gate sets it; give it to use a gate alone.
        num_experts: `int`, E, likewise.
        seed: `int` or `None`, of dropout and noise.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If a size or temperature is not positive, or `dropout` is not in [0, 1).

    Example:

    >>> gate = SoftmaxGate(num_tasks=2, num_experts=4)
    >>> tuple(gate(keras.random.normal((5, 8))).gates.shape)
    (5, 2, 4)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.

    Differs from the paper in: hidden layers, temperature, dropout and bias, off by default.
    """

    def num_logits(self) -> int:
        return self.num_experts

    def select(self, logits: tf.Tensor, hidden: tf.Tensor, training: bool | None) -> Gates:
        gates = tf.nn.softmax(logits)
        return Gates(gates, gates, {})
