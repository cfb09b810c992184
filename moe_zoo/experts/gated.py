"""Gated feed-forward experts (SwiGLU, GEGLU)."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.plans import Layout

from .hidden_layer import HiddenLayerExperts


@keras.saving.register_keras_serializable(package="moe_zoo")
class GatedExperts(HiddenLayerExperts):
    """Gated experts: `E_e(x) = (activation(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out`.

    `activation="silu"` is SwiGLU, `"gelu"` GEGLU, `"sigmoid"` GLU.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F, hidden units of one expert.
        output_dim: `int` or `None`, units of the output; `None` is the width of the input.
        activation: Keras activation of the gate.
        use_bias: `bool`; gated networks usually have no biases.
        dropout: `float`, rate of the dropout on the hidden layer.
        kernel_initializer: Keras initializer; each expert is drawn as it would be alone.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the experts.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each expert's matrices alone.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If a size is not positive or `dropout` is not in [0, 1).

    Example:

    >>> experts = GatedExperts(num_experts=4, hidden_dim=16)
    >>> tuple(experts(keras.random.normal((4, 5, 8))).shape)
    (4, 5, 8)

    Reference: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202.
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        activation: str | Callable[[Any], Any] | None = "silu",
        use_bias: bool = False,
        output_dim: int | None = None,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
        bias_regularizer: str | keras.regularizers.Regularizer | None = None,
        kernel_constraint: str | keras.constraints.Constraint | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            num_experts,
            hidden_dim,
            output_dim=output_dim,
            activation=activation,
            use_bias=use_bias,
            dropout=dropout,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            name=name,
            **kwargs,
        )

    def build_hidden(self, width: int) -> None:
        self.kernel_gate, self.bias_gate = self.add_dense("gate", width, self.hidden_dim)
        self.kernel_in, self.bias_in = self.add_dense("in", width, self.hidden_dim)

    def hidden(self, rows: tf.Tensor, layout: Layout) -> tf.Tensor:
        gate = self.activation(layout.dense(rows, self.kernel_gate, self.bias_gate))
        return gate * layout.dense(rows, self.kernel_in, self.bias_in)
