"""The base of task layers of plain networks, without experts or gates."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.experts.stacked_dense import StackedDense, stacked_dropout
from moe_zoo.plans import EveryRow
from moe_zoo.quantizing import refuse_quantizing
from moe_zoo.validation import check_sizes

from .task_mixing import TaskMixing


class NetworkMixing(TaskMixing):
    """N networks of one form, their layers stacked. Subclasses fill in `num_networks` and `mix`.

    Args:
        hidden_dims: units of each layer; the last ones are U.
        activation: Keras activation after every layer, the last too.
        use_bias: `bool`.
        dropout: `float`, rate of the dropout after every layer.
        kernel_initializer: Keras initializer; each network is drawn as it would be alone.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the networks.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each network's matrices alone.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        activation: str | Callable[[Any], Any] | None = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
        bias_regularizer: str | keras.regularizers.Regularizer | None = None,
        kernel_constraint: str | keras.constraints.Constraint | None = None,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_tasks=num_tasks, task_names=task_names, name=name, **kwargs)
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

    def num_networks(self) -> int:
        """Return N."""
        raise NotImplementedError(f"{type(self).__name__} has to define num_networks().")

    def build_mixing(self, width: int) -> None:
        widths = (width, *self.hidden_dims)
        self.layers_weights = self.dense.add_layers(self, self.num_networks(), widths)

    def layer(self, number: int, hidden: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Compute one layer of all networks: `<dtype>[B, D]` or `[B, N, D]` -> `[B, N, F]`."""
        kernel, bias = self.layers_weights[number]
        hidden = self.activation(EveryRow().dense(hidden, kernel, bias))
        return self.dropout(hidden, training=training)

    def output_dim(self, width: int) -> int:
        return self.hidden_dims[-1]

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Refuse, as Keras' own layers do that cannot be quantized."""
        refuse_quantizing(self)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout.rate,
            **self.dense.get_config(),
        }
