"""Experts of several layers, the last one activated too."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.plans import Layout
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.validation import check_sizes

from .experts import Experts
from .stacked_dense import StackedDense, stacked_dropout


@keras.saving.register_keras_serializable(package="moe_zoo")
class MLPExperts(Experts):
    """Multi-layer experts: `E_e(x) = h_L` with `h_l = activation(h_(l-1) W_le + b_le)`, `h_0 = x`.

    The experts of multi-gate mixtures (Ma et al. 2018), where one ReLU layer of 16 units is one
    expert. Unlike in `FeedForwardExperts` every layer has the activation, the last too.

    Args:
        num_experts: `int`, E.
        hidden_dims: units of each layer; the last ones are the output.
        activation: Keras activation after every layer.
        use_bias: `bool`.
        dropout: `float`, rate of the dropout after every layer.
        kernel_initializer: Keras initializer; each expert is drawn as it would be alone, and they
            all differ.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the experts.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each expert's matrices alone.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If there is no layer, a size is not positive, or `dropout` is not in [0, 1).

    Example:

    >>> from moe_zoo.plans import EveryRow
    >>> experts = MLPExperts(num_experts=8, hidden_dims=(16,))
    >>> tuple(experts(keras.random.normal((5, 100)), layout=EveryRow()).shape)
    (5, 8, 16)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dims: Sequence[int] = (16,),
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
        self.hidden_dims = check_sizes("hidden_dims", hidden_dims, least=1)
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

    def build(self, input_shape: tuple) -> None:
        widths = (input_shape[-1], *self.hidden_dims)
        self.layers_weights = self.dense.add_layers(self, self.num_experts, widths)

    def compute(self, rows: tf.Tensor, layout: Layout, training: bool) -> tf.Tensor:
        if training and self.dropout.rate:
            refuse_recomputing(self)
        for kernel, bias in self.layers_weights:
            rows = self.activation(layout.dense(rows, kernel, bias))
            rows = self.dropout(rows, training=training)
        return rows

    def compute_output_shape(self, rows_shape: tuple) -> tuple:
        return (*rows_shape[:-1], self.hidden_dims[-1])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout.rate,
            **self.dense.get_config(),
        }
