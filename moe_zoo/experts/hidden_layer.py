"""The base of experts with one hidden layer."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.plans import Layout
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.validation import check_int

from .experts import Experts
from .stacked_dense import StackedDense, stacked_dropout


class HiddenLayerExperts(Experts):
    """Experts with one hidden layer and a linear output.

    Subclasses fill in `build_hidden` and `hidden`.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F, hidden units of one expert.
        output_dim: `int` or `None`, units of the output; `None` is the width of the input.
        activation: Keras activation of the hidden layer.
        use_bias: `bool`.
        dropout: `float`, rate of the dropout on the hidden layer ("expert dropout", Fedus et al.
            2022, table 4).
        kernel_initializer: Keras initializer; each expert is drawn as it would be alone, and they
            all differ.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the experts.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each expert's matrices alone.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If a size is not positive or `dropout` is not in [0, 1).
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        output_dim: int | None = None,
        activation: str | Callable[[Any], Any] | None = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
        bias_regularizer: str | keras.regularizers.Regularizer | None = None,
        kernel_constraint: str | keras.constraints.Constraint | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_experts, name=name, **kwargs)
        self.hidden_dim = check_int("hidden_dim", hidden_dim, least=1)
        if output_dim is not None:
            output_dim = check_int("output_dim", output_dim, least=1)
        self.output_dim = output_dim
        self.activation = keras.activations.get(activation)
        self.dropout = stacked_dropout(self, dropout)
        self.dense = StackedDense(
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            kernel_constraint,
        )
        self.use_bias = self.dense.use_bias

    def build(self, input_shape: tuple) -> None:
        width = input_shape[-1]
        self.build_hidden(width)
        self.kernel_out, self.bias_out = self.add_dense(
            "out", self.hidden_dim, self.output_dim or width
        )

    def build_hidden(self, width: int) -> None:
        """Create the weights of the hidden layer for inputs of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_hidden().")

    def hidden(self, rows: tf.Tensor, layout: Layout) -> tf.Tensor:
        """Compute the hidden layer by `layout.dense`."""
        raise NotImplementedError(f"{type(self).__name__} has to define hidden().")

    def add_dense(
        self, name: str, inputs: int, units: int
    ) -> tuple[keras.Variable, keras.Variable | None]:
        """Create the weights `[E, inputs, units]` and `[E, units]` (or `None`) of a dense layer."""
        return self.dense.add_weights(self, name, (self.num_experts, inputs, units))

    def compute(self, rows: tf.Tensor, layout: Layout, training: bool) -> tf.Tensor:
        if training and self.dropout.rate:
            refuse_recomputing(self)
        hidden = self.dropout(self.hidden(rows, layout), training=training)
        return layout.dense(hidden, self.kernel_out, self.bias_out)

    def compute_output_shape(self, rows_shape: tuple) -> tuple:
        return (*rows_shape[:-1], self.output_dim or rows_shape[-1])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout.rate,
            **self.dense.get_config(),
        }
