"""The shared bottom."""

from typing import Any

import keras
import tensorflow as tf

from .network_mixing import NetworkMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class SharedBottom(NetworkMixing):
    """One network for all tasks: `f^t(x) = f(x)` (Ma et al. 2018, section 3.1).

    Caruana's (1997) hard parameter sharing, the baseline of all mixtures.

    Args:
        hidden_dims: units of each layer; the last ones are U.
        activation: Keras activation after every layer, the last too.
        use_bias: `bool`.
        dropout: `float`, rate of the dropout after every layer.
        kernel_initializer: Keras initializer; each network is drawn as it would be alone.
        bias_initializer: Keras initializer.
        kernel_regularizer: Keras regularizer or `None`; the loss is the sum over the networks.
        bias_regularizer: Keras regularizer or `None`, likewise.
        kernel_constraint: Keras constraint or `None`, of each network's matrices alone.
        num_tasks: `int`, T. The model that owns the layer sets it; give it to use the layer alone.
        task_names: T names for statistics; `None` for those of the model's tasks, or `task_0` and
            so on.
        name: `str` or `None`.
        **kwargs: `dtype`, `trainable`.

    Raises:
        ValueError: If there is no layer, a size is not positive, or inputs are not `[B, D]`.

    Example:

    >>> layer = SharedBottom(hidden_dims=(113,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 113)

    Reference: Caruana, "Multitask Learning", Machine Learning 28, 1997; Ma et al., KDD 2018.
    """

    def num_networks(self) -> int:
        return 1

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        for number in range(len(self.hidden_dims)):
            rows = self.layer(number, rows, training)  # [B, 1, F]
        return tf.tile(rows, [1, self.num_tasks, 1]), None
