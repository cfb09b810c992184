"""What dense layers with one hidden layer share."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.clones import initializer_like
from moe_zoo.quantizing import check_policy
from moe_zoo.validation import check_bool, check_int, check_rate


class HiddenLayer(keras.layers.Layer):
    """A hidden layer and a linear output, as wide as the input. Subclasses fill in two methods.

    They are `build_hidden` and `hidden_of`.

    Args:
        hidden_dim: `int`, F.
        activation: Keras activation of the hidden layer.
        use_bias: `bool`.
        dropout: `float`, rate on the hidden layer.
        kernel_initializer: Keras initializer.
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: If `hidden_dim` is not positive, or `dropout` is not in [0, 1).
    """

    def __init__(
        self,
        hidden_dim: int,
        activation: str | Callable[[Any], Any] | None = "relu",
        use_bias: bool = False,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_policy(self)
        self.hidden_dim = check_int("hidden_dim", hidden_dim, least=1)
        self.activation = keras.activations.get(activation)
        self.use_bias = check_bool("use_bias", use_bias)
        self.dropout = keras.layers.Dropout(
            check_rate("dropout", dropout), dtype=self.dtype_policy, name="dropout"
        )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple) -> None:
        self.build_hidden(input_shape)
        self.out = self.dense("output", input_shape[-1], 2)  # Keras keeps `output` for itself
        self.out.build((*input_shape[:-1], self.hidden_dim))

    def build_hidden(self, input_shape: tuple) -> None:
        """Make the layers before the output."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_hidden().")

    def hidden_of(self, x: tf.Tensor) -> tf.Tensor:
        """Return the hidden layer: `<dtype>[..., D]` -> `<dtype>[..., F]`."""
        raise NotImplementedError(f"{type(self).__name__} has to define hidden_of().")

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        return self.out(self.dropout(self.hidden_of(inputs), training=training))

    def dense(self, name: str, units: int, number: int) -> keras.layers.Dense:
        """Make a dense layer with these options.

        Args:
            name: `str`.
            units: `int`.
            number: `int`, added to the seed of the initializer.
        """
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=initializer_like(self.kernel_initializer, number),
            dtype=self.dtype_policy,
            name=name,
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout.rate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
