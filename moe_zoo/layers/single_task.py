"""A network of its own for each task."""

from typing import Any

import keras
import tensorflow as tf

from .network_mixing import NetworkMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class SingleTask(NetworkMixing):
    """A network of its own for each task, nothing shared: `f^t(x) = f_t(x)`.

    Trained together it is what T separate models are, which mixtures have to beat.

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

    >>> layer = SingleTask(hidden_dims=(57,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 57)
    """

    def num_networks(self) -> int:
        return self.num_tasks

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        for number in range(len(self.hidden_dims)):
            rows = self.layer(number, rows, training)  # [B, T, F]
        return rows, None
