"""Softmax gates."""

import keras
import tensorflow as tf

from .gate import Gate, Gates


@keras.saving.register_keras_serializable(package="moe_zoo")
class SoftmaxGate(Gate):
    """Softmax gates, one for each task: `g^t(x) = softmax(W_t x)`.

    Section 4.2 of Ma et al. (2018): linear in the input, without a bias.

    Args:
        **kwargs: arguments of `Gate`: `hidden_dims`, `temperature`, `dropout`, `use_bias`,
            `kernel_initializer`, `num_tasks`, `num_experts`, `seed`, `name`.

    Raises:
        ValueError: a size or temperature that is not positive, or a rate outside of [0, 1).

    Example:

    >>> gate = SoftmaxGate(num_tasks=2, num_experts=4)
    >>> tuple(gate(keras.random.normal((5, 8))).gates.shape)
    (5, 2, 4)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.

    Differs from the paper in: hidden layers, temperature, dropout and bias, off by default.
    """

    def num_logits(self):
        return self.num_experts

    def select(self, logits, hidden, training):
        gates = tf.nn.softmax(logits)
        return Gates(gates, gates, {})
