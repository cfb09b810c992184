"""What all experts share: stacked weights, and their products with tokens laid out by expert."""

import keras
import tensorflow as tf

from moe_zoo.constrain import BESIDE, EXPERT, constrain
from moe_zoo.plans.gathers import shape_of
from moe_zoo.plans.plan import EVERY_ROW
from moe_zoo.quantizing import check_policy, refuse_quantizing
from moe_zoo.recomputing import Recomputable
from moe_zoo.validation import check_int

from .grouped_matmul import grouped_matmul


class Experts(Recomputable):
    """E networks of one form, weights stacked as `[E, ...]`. Subclasses fill in `build`, `compute`.

    Call arguments:
        slots: `<dtype>[E, M, D]`, M tokens for each expert; `<dtype>[N, D]`, sorted by expert,
            with `counts`; or with `EVERY_ROW` `<dtype>[M, D]`, rows that every expert computes, or
            `<dtype>[M, E, D]`, where each expert has a row of its own.
        counts: `<int32>[E]`, rows of each expert among the N, `EVERY_ROW` or `None`. Rows past the
            last expert's give zeros.
        training: `bool`.

    Returns:
        As `slots`, with the experts' output width in place of D; `[M, E, width]` with `EVERY_ROW`.
    """

    def __init__(self, num_experts, **kwargs):
        super().__init__(**kwargs)
        check_policy(self)
        self.num_experts = check_int("num_experts", num_experts, least=1)

    def compute(self, slots, counts, training):
        """The experts' formula."""
        raise NotImplementedError(f"{type(self).__name__} has to define compute().")

    def call(self, slots, counts=None, training=False):
        if counts is not EVERY_ROW:
            return self.compute(slots, counts, training)
        slots = constrain(slots, BESIDE, *[EXPERT] * (len(slots.shape) - 2))
        return constrain(self.compute(slots, counts, training), BESIDE, EXPERT)

    def quantize(self, mode=None, type_check=True, config=None):
        """Refuse, as Keras' own layers do that cannot be quantized."""
        refuse_quantizing(self)

    def get_config(self):
        return {**super().get_config(), "num_experts": self.num_experts}


def expert_dense(slots, kernel, bias=None, counts=None):
    """`x W_e + b_e` with the weights of the expert e that each row belongs to.

    Args:
        slots: `<dtype>[E, M, D]`; `<dtype>[N, D]` with `counts`; `<dtype>[M, D]` or
            `<dtype>[M, E, D]` with `EVERY_ROW`.
        kernel: `<dtype>[E, D, F]`.
        bias: `<dtype>[E, F]` or `None`.
        counts: `<int32>[E]`, `EVERY_ROW` or `None`. Rows past the last expert's give zeros, without
            a bias.

    Returns:
        `<dtype>[E, M, F]`, `<dtype>[N, F]`, or with `EVERY_ROW` `<dtype>[M, E, F]`.
    """
    kernel = tf.convert_to_tensor(kernel)
    bias = None if bias is None else tf.convert_to_tensor(bias)
    if counts is EVERY_ROW:
        outputs = _every_row(slots, kernel)
        return outputs if bias is None else outputs + bias
    if counts is not None:
        return grouped_matmul(slots, kernel, counts, bias)
    outputs = tf.matmul(slots, kernel)
    return outputs if bias is None else outputs + tf.expand_dims(bias, 1)


def _every_row(rows, kernel):
    """`<dtype>[M, D]`, by one product, or `<dtype>[M, E, D]`, by a batched one, to `[M, E, F]`."""
    num_experts, width, outputs = kernel.shape
    if len(rows.shape) == 3:
        rows = tf.transpose(rows, [1, 0, 2])
        return tf.transpose(tf.matmul(rows, kernel), [1, 0, 2])
    together = tf.reshape(tf.transpose(kernel, [1, 0, 2]), [width, num_experts * outputs])
    return tf.reshape(tf.matmul(rows, together), [shape_of(rows)[0], num_experts, outputs])


def add_stacked_dense(layer, name, sizes, kernel_initializer, bias_initializer=None):
    """Give a layer the weights of a stack of dense layers, each drawn as it would be alone.

    Args:
        layer: a Keras layer.
        name: `str`, the end of the weights' names.
        sizes: `(E, D, F)`.
        kernel_initializer: Keras initializer; a seed is moved on by the layer's weights so far.
        bias_initializer: Keras initializer, or `None` for no bias.

    Returns:
        `(kernel, bias)`, variables `[E, D, F]` and `[E, F]` or `None`.
    """
    kernel = layer.add_weight(
        name=f"kernel_{name}",
        shape=sizes,
        initializer=StackedInitializer(kernel_initializer, offset=len(layer.weights)),
    )
    if bias_initializer is None:
        return kernel, None
    shape = (sizes[0], sizes[2])
    return kernel, layer.add_weight(name=f"bias_{name}", shape=shape, initializer=bias_initializer)


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

    def __init__(self, initializer, offset=0):
        offset = check_int("offset", offset, least=0)
        initializer = keras.initializers.get(initializer)
        if isinstance(initializer, keras.initializers.Initializer):  # and no plain function
            config = initializer.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] += offset
            initializer = type(initializer).from_config(config)  # without a seed it draws its own
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
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

    def get_config(self):
        return {"initializer": keras.initializers.serialize(self.initializer)}
