"""What experts with one hidden layer share."""

import keras

from moe_zoo.quantizing import StackedDropout
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.validation import check_bool, check_int, check_rate

from .experts import Experts, add_stacked_dense, expert_dense


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
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: a size that is not positive.
    """

    def __init__(
        self,
        num_experts,
        hidden_dim,
        output_dim=None,
        activation="relu",
        use_bias=True,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(num_experts, **kwargs)
        self.hidden_dim = check_int("hidden_dim", hidden_dim, least=1)
        if output_dim is not None:
            output_dim = check_int("output_dim", output_dim, least=1)
        self.output_dim = output_dim
        self.activation = keras.activations.get(activation)
        self.use_bias = check_bool("use_bias", use_bias)
        rate = check_rate("dropout", dropout)
        with keras.RematScope(mode=None):  # it is recomputed with this layer
            self.dropout = StackedDropout(rate, self)
        if rate:  # a weight, so that it is saved with the others
            self.seed_state = self.dropout.seed_generator.state
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        width = input_shape[-1]
        self.build_hidden(width)
        self.kernel_out, self.bias_out = self.add_dense(
            "out", self.hidden_dim, self.output_dim or width
        )

    def build_hidden(self, width):
        """Create the weights of the hidden layer for inputs of this width."""
        raise NotImplementedError(f"{type(self).__name__} has to define build_hidden().")

    def hidden(self, slots, counts):
        """The hidden layer: `<dtype>[E, M, D]` -> `<dtype>[E, M, F]`, or by sorted rows."""
        raise NotImplementedError(f"{type(self).__name__} has to define hidden().")

    def add_dense(self, name, inputs, outputs):
        """The weights of a dense layer: `[E, inputs, outputs]` and `[E, outputs]` or `None`."""
        return add_stacked_dense(
            self,
            name,
            (self.num_experts, inputs, outputs),
            self.kernel_initializer,
            self.bias_initializer if self.use_bias else None,
        )

    def compute(self, slots, counts, training):
        if training and self.dropout.rate:
            refuse_recomputing(self)
        hidden = self.dropout(self.hidden(slots, counts), training=training)
        return expert_dense(hidden, self.kernel_out, self.bias_out, counts)

    def compute_output_shape(self, slots_shape, counts_shape=None):
        return (*slots_shape[:-1], self.output_dim or slots_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout.rate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
