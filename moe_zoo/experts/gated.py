"""Gated feed-forward experts (SwiGLU, GEGLU)."""

import keras

from .experts import expert_dense
from .hidden_layer import HiddenLayerExperts


@keras.saving.register_keras_serializable(package="moe_zoo")
class GatedExperts(HiddenLayerExperts):
    """Gated experts: `E_e(x) = (activation(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out`.

    `activation="silu"` is SwiGLU, `"gelu"` GEGLU, `"sigmoid"` GLU.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F, hidden units of one expert.
        activation: Keras activation of the gate.
        use_bias: `bool`; gated networks usually go without.
        **kwargs: further arguments of `HiddenLayerExperts`: `output_dim`, `dropout`,
            `kernel_initializer`, `bias_initializer`, `name`, `dtype`.

    Raises:
        ValueError: a size that is not positive.

    Example:

    >>> experts = GatedExperts(num_experts=4, hidden_dim=16)
    >>> tuple(experts(keras.random.normal((4, 5, 8))).shape)
    (4, 5, 8)

    Reference: Shazeer, "GLU Variants Improve Transformer", 2020, arXiv 2002.05202.
    """

    def __init__(self, num_experts, hidden_dim, activation="silu", use_bias=False, **kwargs):
        super().__init__(
            num_experts, hidden_dim, activation=activation, use_bias=use_bias, **kwargs
        )

    def build_hidden(self, width):
        self.kernel_gate, self.bias_gate = self.add_dense("gate", width, self.hidden_dim)
        self.kernel_in, self.bias_in = self.add_dense("in", width, self.hidden_dim)

    def hidden(self, slots, counts):
        gate = self.activation(expert_dense(slots, self.kernel_gate, self.bias_gate, counts))
        return gate * expert_dense(slots, self.kernel_in, self.bias_in, counts)
