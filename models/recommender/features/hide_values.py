"""Hide some values in training, as if they were unseen."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.routers.scorer import on_each_device
from moe_zoo.validation import check_rate, check_seed


@keras.saving.register_keras_serializable(package="moe_zoo")
class HideValues(keras.layers.Layer):
    """Sets the embedding of a share of values to zero in training.

    A row of a table to which no value of the training part belongs, such as that of unknown values
    or an empty bin of a hash, stays near zero. So that zero means something, the network sees it in
    each column for a share of rows, drawn anew in every step, and learns from the other columns:

        x_f <- 0 with probability `rate`, else x_f, of each row and feature f

    Args:
        rate: `float`, at least 0 and below 1.
        seed: `int` or `None`.
        **kwargs: `name`.

    Input: list of F `<float>[B, D_f]`. Output: the same.

    Raises:
        ValueError: If `rate` is not in [0, 1).

    Example:

    >>> layer = HideValues(0.5, seed=1)
    >>> rows, = layer([tf.ones([8, 2])], training=True)
    >>> sorted(set(rows.numpy().sum(1).tolist()))
    [0.0, 2.0]
    """

    def __init__(self, rate: float = 0.02, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.autocast = False
        self.rate, self.seed = check_rate("rate", rate), check_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.seed_state = self.seed_generator.state  # a weight, so that it is saved with the others

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        if not training or not self.rate or not inputs:
            return inputs
        shape = [tf.shape(inputs[0])[0], len(inputs), 1]
        draws = on_each_device(tf.random.stateless_uniform(shape, self.seed_generator.next()))
        return [
            tf.where(draws[:, place] < self.rate, tf.zeros_like(rows), rows)
            for place, rows in enumerate(inputs)
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
