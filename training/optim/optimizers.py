"""Adam with factored moments for the weights of experts."""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from moe_zoo.validation import check_at_least, check_bool, check_positive, check_rate, shown

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule


def check_adam(
    learning_rate: float | Schedule, beta_1: float, beta_2: float, epsilon: float
) -> tuple[float | Schedule, float, float, float]:
    """Check the hyperparameters of Adam and return them as plain numbers.

    Args:
        learning_rate: A float or a schedule, which is not checked.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.

    Raises:
        ValueError: If a number is outside its range.
    """
    if not callable(learning_rate):
        # A schedule in a callback may have ended at 0 when the optimizer was saved.
        learning_rate = check_at_least("learning_rate", learning_rate, 0.0, "0.001 is common.")
    return (
        learning_rate,
        check_rate("beta_1", beta_1, "0.9 is common."),
        check_rate("beta_2", beta_2, "0.999 is common."),
        check_positive("epsilon", epsilon, "1e-7 is common."),
    )


@keras.saving.register_keras_serializable("moe_zoo")
class FactoredAdam(keras.optimizers.Adam):
    r"""Adam with a factored second moment, and no first moment, for the kernels of experts.

    The kernel of an expert is a matrix with gradient g `[R, C]`; stacked experts have one each.
    Adam keeps an average v of g^2 for each weight. This optimizer keeps only the averages over rows
    and over columns, and estimates v by their outer product, divided by their mean:

        r <- beta_2 r + (1 - beta_2) mean_over_columns(g^2)                     [R]
        c <- beta_2 c + (1 - beta_2) mean_over_rows(g^2)                        [C]
        v = r c^T / mean(r)                                                     [R, C]
        weight <- weight - rate * sqrt(1 - beta_2^t) * g / (sqrt(v) + epsilon)

    This is Adam with beta_1 = 0 and an estimate of v that is exact where the average of g^2 has
    rank one. A kernel of R x C weights has a state of R + C numbers instead of 2 R C. All other
    weights are updated as by `keras.optimizers.Adam`.

    Args:
        learning_rate: A float or a schedule.
        beta_1: Decay of the first moment of the weights that are not factored.
        beta_2: Decay of the second moment.
        epsilon: Added to the square root of the second moment.
        factored: Regular expression that is searched for in the path of each weight. Weights that
            match and have at least two dimensions are factored over the last two. The default
            matches the kernels of `moe_zoo.experts`, but not the biases.
        weight_decay: Decoupled weight decay; `None` for none.
        clipnorm: Largest norm of the gradient of each weight.
        clipvalue: Largest absolute value of a gradient.
        global_clipnorm: Largest norm of all gradients together.
        use_ema: Whether to keep an exponential moving average of the weights.
        ema_momentum: Decay of that average.
        ema_overwrite_frequency: Steps after which the weights are replaced by their average.
        loss_scale_factor: Factor that the loss is multiplied by.
        gradient_accumulation_steps: Number of steps whose gradients are added before an update.
        **kwargs: `name`, by default `"factored_adam"`.

    Raises:
        ValueError: If `factored` is not a regular expression, if a number is outside its range, or
            if `amsgrad` is set.

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
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        factored: str = r"experts.*kernel",
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        **kwargs: Any,
    ):
        if kwargs.pop("amsgrad", False):
            raise ValueError(
                "Expected amsgrad=False, since factored moments have no maximum. Received: "
                "amsgrad=True. Leave it out, or use keras.optimizers.Adam."
            )
        numbers = check_adam(learning_rate, beta_1, beta_2, epsilon)
        super().__init__(
            *numbers,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=check_bool("use_ema", use_ema),
            ema_momentum=check_rate("ema_momentum", ema_momentum, "0.99 is common."),
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            **{"name": "factored_adam", **kwargs},
        )
        try:
            re.compile(factored)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"Expected a regular expression. Received: factored={shown(factored)} ({error}). "
                "It is searched for in the paths of weights, as in 'experts.*kernel'."
            ) from error
        self.factored = factored

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        """Create two slots for each weight: its moments, or its averages over rows and columns."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, var_list)  # without the slots of Adam
        momentums: list[keras.Variable | None] = []
        velocities: list[keras.Variable | None] = []
        averages: list[tuple[keras.Variable, keras.Variable] | None] = []
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

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one weight and its slots."""
        index = self._get_variable_index(variable)
        averages = self._averages[index]
        if averages is None:
            super().update_step(gradient, variable, learning_rate)
            return
        rows, columns = averages
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

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer, without its state."""
        config = super().get_config()
        del config["amsgrad"]
        return {**config, "factored": self.factored}

    def _is_factored(self, variable: keras.Variable) -> bool:
        return len(variable.shape) >= 2 and re.search(self.factored, variable.path) is not None

    def _add_average(
        self, variable: keras.Variable, shape: Sequence[int], name: str
    ) -> keras.Variable:
        path = variable.path.replace("/", "_")
        return self.add_variable(shape, dtype=variable.dtype, name=f"{path}_{name}")

    def _move_average(self, average: keras.Variable, value: tf.Tensor) -> None:
        self.assign_add(average, (value - average) * (1 - self.beta_2))


def optimizer_by_name(
    name: str, rate: float | Schedule, clip_norm: float, weight_decay: float = 0.0
) -> keras.optimizers.Optimizer:
    """Make an optimizer from the settings of a recipe.

    Args:
        name: `"adam"`, `"adamw"`, `"adafactor"` or `"factored_adam"`.
        rate: Learning rate, a float or a schedule.
        clip_norm: Largest global norm of the gradients; 0 for no clipping.
        weight_decay: Weight decay of AdamW, on all weights.
    """
    clip = {"global_clipnorm": clip_norm or None}
    if name == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=weight_decay, **clip)
    if name == "adafactor":
        return keras.optimizers.Adafactor(rate, relative_step=False, **clip)
    return {"adam": keras.optimizers.Adam, "factored_adam": FactoredAdam}[name](rate, **clip)
