"""Feed-forward experts."""

import keras
import tensorflow as tf

from moe_zoo.plans import Layout

from .hidden_layer import HiddenLayerExperts


@keras.saving.register_keras_serializable(package="moe_zoo")
class FeedForwardExperts(HiddenLayerExperts):
    """Feed-forward experts: `E_e(x) = activation(x W_in_e + b_in_e) W_out_e + b_out_e`.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F, hidden units of one expert.
        output_dim: `int` or `None`, units of the output; `None` is the width of the input.
        activation: Keras activation of the hidden layer.
        use_bias: `bool`.
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

    >>> experts = FeedForwardExperts(num_experts=4, hidden_dim=16)
    >>> tuple(experts(keras.random.normal((4, 5, 8))).shape)
    (4, 5, 8)

    Reference: Shazeer et al., ICLR 2017, arXiv 1701.06538, appendix C (ReLU, no sigmoid inside the
        expert).
    """

    def build_hidden(self, width: int) -> None:
        self.kernel_in, self.bias_in = self.add_dense("in", width, self.hidden_dim)

    def hidden(self, rows: tf.Tensor, layout: Layout) -> tf.Tensor:
        return self.activation(layout.dense(rows, self.kernel_in, self.bias_in))
