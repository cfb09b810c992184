"""What task layers of plain networks share: stacked dense layers, without experts or gates."""

import keras

from moe_zoo.experts.experts import add_stacked_dense, expert_dense
from moe_zoo.plans.plan import EVERY_ROW
from moe_zoo.quantizing import StackedDropout, refuse_quantizing
from moe_zoo.validation import check_bool, check_rate, check_sizes

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
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        **kwargs: further arguments of `TaskMixing`: `task_names`, `name`, `dtype`.
    """

    def __init__(
        self,
        hidden_dims,
        activation="relu",
        use_bias=True,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        num_tasks=None,
        **kwargs,
    ):
        super().__init__(num_tasks, **kwargs)
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

    def num_networks(self):
        """N."""
        raise NotImplementedError(f"{type(self).__name__} has to define num_networks().")

    def build_mixing(self, width):
        widths = (width, *self.hidden_dims)
        bias_initializer = self.bias_initializer if self.use_bias else None
        count = self.num_networks()
        self.layers_weights = [
            add_stacked_dense(
                self, str(i), (count, *sizes), self.kernel_initializer, bias_initializer
            )
            for i, sizes in enumerate(zip(widths[:-1], widths[1:], strict=True))
        ]

    def layer(self, number, hidden, training):
        """One layer of all networks: `<dtype>[B, D]` or `<dtype>[B, N, D]` -> `[B, N, F]`."""
        kernel, bias = self.layers_weights[number]
        hidden = self.activation(expert_dense(hidden, kernel, bias, EVERY_ROW))
        return self.dropout(hidden, training=training)

    def output_dim(self, width):
        return self.hidden_dims[-1]

    def quantize(self, mode=None, type_check=True, config=None):
        """Refuse, as Keras' own layers do that cannot be quantized."""
        refuse_quantizing(self)

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
