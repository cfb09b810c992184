"""Adam with a small memory for the weights of experts."""

import re

import keras
import tensorflow as tf
from keras import ops

from moe_zoo.validation import check_at_least, check_positive, check_rate, shown


def check_adam(learning_rate, beta_1, beta_2, epsilon):
    """The numbers of an Adam as plain ones. Raises `ValueError` for one out of its range."""
    if not callable(learning_rate):
        # A schedule in a callback may have ended at 0 when the optimizer was saved.
        learning_rate = check_at_least("learning_rate", learning_rate, 0.0)
    return (
        learning_rate,
        check_rate("beta_1", beta_1),
        check_rate("beta_2", beta_2),
        check_positive("epsilon", epsilon, "1e-7 is common."),
    )


@keras.saving.register_keras_serializable("moe_zoo")
class FactoredAdam(keras.optimizers.Adam):
    r"""Adam, with a factored second moment and no first moment for the kernels of experts.

    A kernel of an expert is a matrix with gradient g `[R, C]`; a stack of experts holds one for
    each. Instead of Adam's average v of g^2 for each weight, only its averages over rows and over
    columns are kept, and v is estimated by their outer product over their mean:

        r <- beta_2 r + (1 - beta_2) mean_over_columns(g^2)                     [R]
        c <- beta_2 c + (1 - beta_2) mean_over_rows(g^2)                        [C]
        v = r c^T / mean(r)                                                     [R, C]
        weight <- weight - rate * sqrt(1 - beta_2^t) * g / (sqrt(v) + epsilon)

    This is Adam with beta_1 = 0 and an estimate of v that is exact where the average of g^2 has
    rank one. A kernel of R x C weights keeps R + C numbers instead of 2 R C. All other weights get
    Adam as Keras has it.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the first moment of the weights that are not factored.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        factored: Regular expression that is searched for in the path of each weight. Those with a
            match and two or more dimensions are factored in the last two. The default finds the
            kernels, but not the biases, of `moe_zoo.experts`.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, such as `global_clipnorm`.

    Raises:
        ValueError: If `factored` is no regular expression.

    Example:

    >>> layer = keras.layers.Dense(3, use_bias=False, name="experts")
    >>> layer.build([None, 2])
    >>> optimizer = FactoredAdam(0.1)
    >>> optimizer.build(layer.trainable_variables)
    >>> [tuple(v.shape) for v in optimizer.variables[2:]]  # after iteration and learning rate
    [(2,), (3,)]

    Reference: Shazeer et al. 2017, "Outrageously Large Neural Networks", appendix D.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        factored=r"experts.*kernel",
        name="factored_adam",
        **kwargs,
    ):
        if kwargs.pop("amsgrad", False):
            raise ValueError(
                "Expected no maximum of moments, which would need all of them. Received: "
                "amsgrad=True. Leave it out, or use keras.optimizers.Adam."
            )
        numbers = check_adam(learning_rate, beta_1, beta_2, epsilon)
        super().__init__(*numbers, name=name, **kwargs)
        try:
            re.compile(factored)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"Expected a regular expression. Received: factored={shown(factored)} ({error}). "
                "It is searched for in the paths of weights, as in 'experts.*kernel'."
            ) from error
        self.factored = factored

    def build(self, var_list):
        """Creates two slots for each weight: its moments, or its rows' and columns' averages."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, var_list)  # without the slots of Adam
        momentums, velocities, averages = [], [], []
        for variable in var_list:
            momentum, velocity, average = [None], [None], None
            if self._is_factored(variable):
                *stack, rows, columns = variable.shape
                average = (
                    self._add_average(variable, [*stack, rows], "row_velocity"),
                    self._add_average(variable, [*stack, columns], "column_velocity"),
                )
            else:
                momentum, velocity = self.add_optimizer_variables(
                    [variable], ["momentum", "velocity"]
                )
            momentums += momentum
            velocities += velocity
            averages.append(average)
        self._momentums, self._velocities = momentums, velocities  # the names that Adam reads
        self._averages = averages

    def update_step(self, gradient, variable, learning_rate):
        """Updates one weight and its slots."""
        index = self._get_variable_index(variable)
        if self._averages[index] is None:
            super().update_step(gradient, variable, learning_rate)
            return
        rows, columns = self._averages[index]
        gradient = ops.cast(tf.convert_to_tensor(gradient), variable.dtype)
        squares = ops.square(gradient)
        self._move_average(rows, ops.mean(squares, axis=-1))
        self._move_average(columns, ops.mean(squares, axis=-2))
        share = tf.math.divide_no_nan(
            tf.convert_to_tensor(rows), ops.mean(rows, axis=-1, keepdims=True)
        )
        moment = ops.expand_dims(share, -1) * ops.expand_dims(columns, -2)
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction = ops.sqrt(1 - ops.power(ops.cast(self.beta_2, variable.dtype), step))
        rate = ops.cast(learning_rate, variable.dtype) * correction
        self.assign_sub(variable, rate * gradient / (ops.sqrt(moment) + self.epsilon))

    def get_config(self):
        """Arguments that make an equal optimizer, without its state."""
        config = super().get_config()
        del config["amsgrad"]
        return {**config, "factored": self.factored}

    def _is_factored(self, variable):
        return len(variable.shape) >= 2 and re.search(self.factored, variable.path) is not None

    def _add_average(self, variable, shape, name):
        path = variable.path.replace("/", "_")
        return self.add_variable(shape, dtype=variable.dtype, name=f"{path}_{name}")

    def _move_average(self, average, value):
        self.assign_add(average, (value - average) * (1 - self.beta_2))


def optimizer_by_name(name, rate, clip_norm, weight_decay=0.0):
    """The optimizer that the settings of a recipe ask for.

    Args:
        name: `"adam"`, `"adamw"`, `"adafactor"` or `"factored_adam"`.
        rate: `float` or schedule.
        clip_norm: `float`, global gradient norm, 0 for none.
        weight_decay: `float`, of AdamW, on all weights.
    """
    clip = {"global_clipnorm": clip_norm or None}
    if name == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=weight_decay, **clip)
    if name == "adafactor":
        return keras.optimizers.Adafactor(rate, relative_step=False, **clip)
    return {"adam": keras.optimizers.Adam, "factored_adam": FactoredAdam}[name](rate, **clip)
