"""Weights of dense layers that are stacked over experts, tasks or networks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.clones import initializer_like
from moe_zoo.quantizing import StackedDropout
from moe_zoo.scopes import constrain
from moe_zoo.validation import check_bool, check_int, check_rate

ADDITIVE = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
BY_AXIS = (keras.constraints.MaxNorm, keras.constraints.MinMaxNorm, keras.constraints.UnitNorm)


class StackedDense:
    """The options of stacked dense layers, each of which is drawn and constrained as it is alone.

    The weights belong to the layer that has these options.

    Args:
        use_bias: `bool`.
        kernel_initializer: Keras initializer. A seed is moved on by the layer's weights so far, so
            that its kernels differ.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the stack.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each matrix `[D, F]` alone.
    """

    def __init__(
        self,
        use_bias: bool = True,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
        bias_regularizer: str | keras.regularizers.Regularizer | None = None,
        kernel_constraint: str | keras.constraints.Constraint | None = None,
    ):
        self.use_bias = check_bool("use_bias", use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def add_weights(
        self, layer: keras.layers.Layer, name: str, sizes: tuple[int, int, int]
    ) -> tuple[keras.Variable, keras.Variable | None]:
        """Give a layer a kernel `[E, D, F]` and, with `use_bias`, a bias `[E, F]`.

        Args:
            layer: a Keras layer.
            name: `str`, the end of the weights' names.
            sizes: `(E, D, F)`.

        Returns:
            `(kernel, bias)`, the bias `None` without `use_bias`.
        """
        kernel = layer.add_weight(
            name=f"kernel_{name}",
            shape=sizes,
            initializer=StackedInitializer(self.kernel_initializer, offset=len(layer.weights)),
            regularizer=stacked_regularizer(self.kernel_regularizer),
            constraint=stacked_constraint(self.kernel_constraint),
        )
        if not self.use_bias:
            return kernel, None
        bias = layer.add_weight(
            name=f"bias_{name}",
            shape=(sizes[0], sizes[2]),
            initializer=self.bias_initializer,
            regularizer=stacked_regularizer(self.bias_regularizer),
        )
        return kernel, bias

    def add_layers(
        self, layer: keras.layers.Layer, stack: int, widths: Sequence[int]
    ) -> list[tuple[keras.Variable, keras.Variable | None]]:
        """Give a layer the weights of layers of these widths, one after the other.

        Args:
            layer: a Keras layer.
            stack: `int`, E, networks in the stack.
            widths: the width of the inputs, and then the units of each layer.

        Returns:
            A `(kernel, bias)` for each layer.
        """
        pairs = zip(widths[:-1], widths[1:], strict=True)
        return [self.add_weights(layer, str(i), (stack, *pair)) for i, pair in enumerate(pairs)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as a part of the layer's configuration."""
        return {
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
        }


def stacked_dropout(layer: keras.layers.Layer, rate: float) -> StackedDropout:
    """Return the dropout of a layer with stacked weights, its seed saved with that layer.

    Args:
        layer: a Keras layer.
        rate: `float`.
    """
    rate = check_rate("dropout", rate)
    with keras.RematScope(mode=None):  # it is recomputed with the layer
        dropout = StackedDropout(rate, layer)
    if rate:  # a weight, so that it is saved with the others
        layer.seed_state = dropout.seed_generator.state
    return dropout


def stacked_regularizer(
    regularizer: Callable[[Any], Any] | None,
) -> Callable[[Any], Any] | None:
    """Return the sum of a regularizer's losses of all weights in a stack.

    Args:
        regularizer: a Keras regularizer or `None`.
    """
    if regularizer is None or type(regularizer) in ADDITIVE:
        return regularizer
    return lambda stack: tf.add_n([regularizer(x) for x in _unstacked(stack)])


def stacked_constraint(
    constraint: keras.constraints.Constraint | None,
) -> Callable[[Any], Any] | None:
    """Return a constraint that holds for each of the weights in a stack.

    Args:
        constraint: a Keras constraint or `None`.
    """
    if constraint is None or type(constraint) is keras.constraints.NonNeg:
        return constraint
    if type(constraint) in BY_AXIS:
        config = constraint.get_config()
        axes = keras.tree.map_structure(lambda axis: axis + (axis >= 0), config["axis"])
        return type(constraint)(**{**config, "axis": axes})
    return lambda stack: constrain(tf.stack([constraint(x) for x in _unstacked(stack)]))


def _unstacked(stack: Any) -> list[tf.Tensor]:
    """Return the weights in a stack, which a mesh can split only where it is whole."""
    return tf.unstack(constrain(tf.convert_to_tensor(stack)))


@keras.saving.register_keras_serializable(package="moe_zoo")
class StackedInitializer(keras.initializers.Initializer):
    """Draws a stack of weights, each as `initializer` would draw it alone, and all different.

    Keras counts every axis before the last two as a receptive field, so that a variance scaling
    initializer would divide the variance by E.

    Args:
        initializer: a Keras initializer.
        offset: `int`, added to its seed if that was given, so that the weights of a layer differ.

    Example:

    >>> kernel = StackedInitializer(keras.initializers.GlorotUniform(seed=1))((3, 4, 5))
    >>> tuple(kernel.shape)
    (3, 4, 5)
    """

    def __init__(self, initializer: str | keras.initializers.Initializer, offset: int = 0):
        offset = check_int("offset", offset, least=0)
        self.initializer = initializer_like(keras.initializers.get(initializer), offset)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> tf.Tensor:
        initializer = self.initializer
        if isinstance(initializer, keras.initializers.VarianceScaling) and len(shape) > 2:
            config = keras.initializers.VarianceScaling.get_config(initializer)
            config.update(scale=config["scale"] * shape[0], seed=initializer.seed)
            initializer = keras.initializers.VarianceScaling(**config)
        elif isinstance(initializer, keras.initializers.Orthogonal | keras.initializers.Identity):
            raise ValueError(
                "Expected an initializer that can draw a stack of matrices. Received: "
                f"{type(initializer).__name__}. Use a variance scaling, normal or uniform one."
            )
        return initializer(shape, dtype=dtype)

    def get_config(self) -> dict:
        return {"initializer": keras.initializers.serialize(self.initializer)}
