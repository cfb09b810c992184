"""Learning rate schedules of papers that Keras does not have."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from moe_zoo.validation import check_int, check_positive

FINAL_RATE = 0.05  # of the peak, at the end of the cosine


@keras.saving.register_keras_serializable("moe_zoo")
class WarmupInverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, an optional hold, then decay with the inverse square root of the step.

    With W `warmup_steps`, H `hold_steps` and t the number of the update, counted from 1:

        rate(t) = peak * t / W                  for t <= W
                  peak                          for W < t <= W + H
                  peak * sqrt((W + H) / t)      for t > W + H

    The language models of the paper use W = 1000 and H = 0, its translation models W = 2000 and
    H = 8000. The paper gives no peak.

    For warm-up and cosine decay use `keras.optimizers.schedules.CosineDecay` with its arguments
    `warmup_target` and `warmup_steps`.

    Args:
        peak_learning_rate: The highest rate, reached at update W.
        warmup_steps: Number of updates of the linear part, W.
        hold_steps: Number of updates at the peak, H.

    Raises:
        ValueError: If an argument is negative, or the peak is zero.

    Example:

    >>> schedule = WarmupInverseSquareRoot(0.01, warmup_steps=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 9, 39)]  # updates 1, 10 and 40
    [0.001, 0.01, 0.005]

    Reference: Shazeer et al. 2017, "Outrageously Large Neural Networks", appendices C and E.
    """

    def __init__(self, peak_learning_rate: float, warmup_steps: int, hold_steps: int = 0):
        super().__init__()
        self.peak_learning_rate = check_positive(
            "peak_learning_rate", peak_learning_rate, "0.001 is a common peak with Adam."
        )
        self.warmup_steps = check_int("warmup_steps", warmup_steps, 0)
        self.hold_steps = check_int("hold_steps", hold_steps, 0)

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """Compute the learning rate of the update after `step` updates, `<float32>[]`."""
        update = ops.cast(step, "float32") + 1.0
        rising = update / float(max(self.warmup_steps, 1))
        falling = ops.sqrt(float(max(self.warmup_steps + self.hold_steps, 1)) / update)
        return self.peak_learning_rate * ops.minimum(1.0, ops.minimum(rising, falling))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal schedule."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "hold_steps": self.hold_steps,
        }


def schedule_by_name(
    name: str, peak: float, warmup_steps: int, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make a learning rate schedule from the settings of a recipe.

    Args:
        name: `"cosine"`, which decays to 5 percent of the peak, or `"inverse_sqrt"`.
        peak: The highest learning rate.
        warmup_steps: Steps of linear warm-up.
        steps: Steps of the whole training.
    """
    if name == "inverse_sqrt":
        return WarmupInverseSquareRoot(peak, warmup_steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(steps - warmup_steps, 1),
        alpha=FINAL_RATE,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )
