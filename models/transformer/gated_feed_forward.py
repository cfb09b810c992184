"""The Transformer's feed-forward layer with a gate (SwiGLU, GEGLU)."""

import keras

from .hidden_layer import HiddenLayer


@keras.saving.register_keras_serializable(package="moe_zoo")
class GatedFeedForward(HiddenLayer):
    """Gated feed-forward layer: `(activation(x W_gate) * (x W_in)) W_out`.

    One of `GatedExperts`, for every token. `activation="silu"` is SwiGLU, `"gelu"` GEGLU.

    Args:
        hidden_dim: `int`, F.
        activation: Keras activation of the gate.
        **kwargs: further arguments of `HiddenLayer`: `use_bias` (false), `dropout` (0),
            `kernel_initializer`, `name`, `dtype`.

    Raises:
        ValueError: a size that is not positive, or a rate outside [0, 1).

    Example:

    >>> layer = GatedFeedForward(hidden_dim=32)
    >>> tuple(layer(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202.
    """

    def __init__(self, hidden_dim, activation="silu", **kwargs):
        super().__init__(hidden_dim, activation=activation, **kwargs)

    def build_hidden(self, input_shape):
        self.gate = self.dense("gate", self.hidden_dim, 0)
        self.hidden = self.dense("hidden", self.hidden_dim, 1)
        self.gate.build(input_shape)
        self.hidden.build(input_shape)

    def hidden_of(self, x):
        return self.activation(self.gate(x)) * self.hidden(x)
