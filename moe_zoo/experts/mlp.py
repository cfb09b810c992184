"""Experts of several layers, the last one activated too."""

import keras

from moe_zoo.quantizing import StackedDropout
from moe_zoo.recomputing import refuse_recomputing
from moe_zoo.validation import check_bool, check_rate, check_sizes

from .experts import Experts, add_stacked_dense, expert_dense


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
        **kwargs: `name`, `dtype`.

    Raises:
        ValueError: no layer, or a size that is not positive.

    Example:

    >>> from moe_zoo.plans.plan import EVERY_ROW
    >>> experts = MLPExperts(num_experts=8, hidden_dims=(16,))
    >>> tuple(experts(keras.random.normal((5, 100)), counts=EVERY_ROW).shape)
    (5, 8, 16)

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts", KDD 2018.
    """

    def __init__(
        self,
        num_experts,
        hidden_dims=(16,),
        activation="relu",
        use_bias=True,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(num_experts, **kwargs)
        self.hidden_dims = check_sizes("hidden_dims", hidden_dims, least=1)
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
        widths = (input_shape[-1], *self.hidden_dims)
        bias_initializer = self.bias_initializer if self.use_bias else None
        self.layers_weights = [
            add_stacked_dense(
                self, str(i), (self.num_experts, *sizes), self.kernel_initializer, bias_initializer
            )
            for i, sizes in enumerate(zip(widths[:-1], widths[1:], strict=True))
        ]

    def compute(self, slots, counts, training):
        if training and self.dropout.rate:
            refuse_recomputing(self)
        for kernel, bias in self.layers_weights:
            slots = self.activation(expert_dense(slots, kernel, bias, counts))
            slots = self.dropout(slots, training=training)
        return slots

    def compute_output_shape(self, slots_shape, counts_shape=None):
        return (*slots_shape[:-1], self.hidden_dims[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dims": self.hidden_dims,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout.rate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
