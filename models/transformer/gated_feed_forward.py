"""The Transformer's feed-forward layer with a gate (SwiGLU, GEGLU)."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .hidden_layer import HiddenLayer


@keras.saving.register_keras_serializable(package="moe_zoo")
class GatedFeedForward(HiddenLayer):
    """Gated feed-forward layer: `(activation(x W_gate) * (x W_in)) W_out`.

    One of `GatedExperts`, for every token. `activation="silu"` is SwiGLU, `"gelu"` GEGLU.

    Args:
        hidden_dim: `int`, F.
        activation: Keras activation of the gate.
        use_bias: `bool`.
        dropout: `float`, rate on the hidden layer.
        kernel_initializer: Keras initializer.
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: If `hidden_dim` is not positive, or `dropout` is not in [0, 1).

    Example:

    >>> layer = GatedFeedForward(hidden_dim=32)
    >>> tuple(layer(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202.
    """

    def __init__(
        self,
        hidden_dim: int,
        activation: str | Callable[[Any], Any] | None = "silu",
        use_bias: bool = False,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(hidden_dim, activation, use_bias, dropout, kernel_initializer, **kwargs)

    def build_hidden(self, input_shape: tuple) -> None:
        self.gate = self.dense("gate", self.hidden_dim, 0)
        self.hidden = self.dense("hidden", self.hidden_dim, 1)
        self.gate.build(input_shape)
        self.hidden.build(input_shape)

    def hidden_of(self, x: tf.Tensor) -> tf.Tensor:
        return self.activation(self.gate(x)) * self.hidden(x)
