"""The Transformer's feed-forward layer."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from .hidden_layer import HiddenLayer


@keras.saving.register_keras_serializable(package="moe_zoo")
class FeedForward(HiddenLayer):
    """Feed-forward layer: `activation(x W_in) W_out` (Vaswani et al. 2017, section 3.3).

    One of `FeedForwardExperts`, for every token.

    Args:
        hidden_dim: `int`, F.
        activation: Keras activation of the hidden layer.
        use_bias: `bool`.
        dropout: `float`, rate on the hidden layer.
        kernel_initializer: Keras initializer.
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: If `hidden_dim` is not positive, or `dropout` is not in [0, 1).

    Example:

    >>> layer = FeedForward(hidden_dim=32)
    >>> tuple(layer(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Vaswani et al., 2017, arXiv 1706.03762.
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
        super().__init__(hidden_dim, activation, use_bias, dropout, kernel_initializer, **kwargs)

    def build_hidden(self, input_shape: tuple) -> None:
        self.hidden = self.dense("hidden", self.hidden_dim, 0)
        self.hidden.build(input_shape)

    def hidden_of(self, x: tf.Tensor) -> tf.Tensor:
        return self.activation(self.hidden(x))
