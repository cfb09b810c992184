"""Feed-forward experts."""

import keras

from .experts import expert_dense
from .hidden_layer import HiddenLayerExperts


@keras.saving.register_keras_serializable(package="moe_zoo")
class FeedForwardExperts(HiddenLayerExperts):
    """Feed-forward experts: `E_e(x) = activation(x W_in_e + b_in_e) W_out_e + b_out_e`.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F, hidden units of one expert.
        **kwargs: further arguments of `HiddenLayerExperts`: `output_dim`, `activation` ("relu"),
            `use_bias` (true), `dropout` (0), `kernel_initializer`, `bias_initializer`, `name`,
            `dtype`.

    Raises:
        ValueError: a size that is not positive.

    Example:

    >>> experts = FeedForwardExperts(num_experts=4, hidden_dim=16)
    >>> tuple(experts(keras.random.normal((4, 5, 8))).shape)
    (4, 5, 8)

    Reference: Shazeer et al., ICLR 2017, arXiv 1701.06538, appendix C (ReLU, no sigmoid inside the
        expert).
    """

    def build_hidden(self, width):
        self.kernel_in, self.bias_in = self.add_dense("in", width, self.hidden_dim)

    def hidden(self, slots, counts):
        return self.activation(expert_dense(slots, self.kernel_in, self.bias_in, counts))
