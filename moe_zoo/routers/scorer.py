"""The base of routers and gates: precision, randomness and auxiliary losses."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.recomputing import RecomputedPart
from moe_zoo.scopes import constrain
from moe_zoo.validation import check_seed, shown


class Scorer(RecomputedPart):
    """Scores experts in float32 whatever the dtype policy, and never touches an expert.

    Args:
        kernel_initializer: Keras initializer.
        seed: `int` or `None`, of all that is drawn.
        name: `str` or `None`.
        **kwargs: `trainable`. A `dtype` other than float32 is refused.

    Raises:
        ValueError: If `dtype` is not float32.
    """

    loss_names: tuple[str, ...] = ()  # a loss `x_loss` has the weight `x_loss_weight`

    def __init__(
        self,
        kernel_initializer: str | keras.initializers.Initializer,
        seed: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        dtype = kwargs.pop("dtype", None)
        if dtype is not None and keras.dtype_policies.get(dtype).name != "float32":
            raise ValueError(
                f"Expected no dtype. Received: dtype={shown(dtype)}. {type(self).__name__} always "
                "computes in float32: give dtype to the layer and the experts."
            )
        super().__init__(name=name, dtype="float32", **kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = check_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.seed_state = self.seed_generator.state  # a weight, so that it is saved with the others

    def active_losses(self) -> tuple[str, ...]:
        """Return the names of the auxiliary losses whose weight is not zero."""
        return tuple(name for name in self.loss_names if getattr(self, f"{name}_weight"))

    def add_losses(
        self, losses: Mapping[str, Callable[[], tf.Tensor]], training: bool | None
    ) -> dict[str, tf.Tensor]:
        """Weigh auxiliary losses and add them to those of the model, in training alone.

        Args:
            losses: functions that return a loss `<float32>[]`, by name.
            training: `bool`.

        Returns:
            `dict` of the weighted losses, for statistics.
        """
        if not training:
            return {}
        weights = {name: getattr(self, f"{name}_weight") for name in losses}
        weighted = {name: weight * losses[name]() for name, weight in weights.items() if weight}
        for loss in weighted.values():
            self.add_loss(loss)
        return weighted

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "seed": self.seed,
        }


def on_each_device(noise: tf.Tensor) -> tf.Tensor:
    """Draw noise whole on every device of a mesh, so that the mesh does not change it."""
    return constrain(noise)


def check_finite(kind: str, logits: tf.Tensor, gates: tf.Tensor, path: str) -> tf.Tensor:
    """Return the gates, or raise an error that names the layer if a logit is NaN or infinite.

    XLA leaves such checks out. There all gates of the logit's group become NaN, so that outputs and
    loss do, even if that token is dropped, and `keras.callbacks.TerminateOnNaN` sees it.
    """
    message = (
        f"The {kind} '{path}' computed a logit that is not finite. Its input or its weights hold "
        "NaN or infinity: look at the data and at the layers before it, lower the learning rate, "
        "or mask the tokens in question."
    )
    # Outside of the gradient: loss scaling relies on infinite gradients passing through.
    check = tf.debugging.check_numerics(tf.stop_gradient(logits), message)
    finite = tf.reduce_all(tf.math.is_finite(logits), [1, 2], keepdims=True)
    with tf.control_dependencies([check]):
        return tf.where(finite, gates, math.nan)
