"""A network of its own for each task."""

import keras

from .network_mixing import NetworkMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class SingleTask(NetworkMixing):
    """A network of its own for each task, nothing shared: `f^t(x) = f_t(x)`.

    Trained together it is what T separate models are, which mixtures have to beat.

    Args:
        hidden_dims: units of each layer; the last ones are U.
        **kwargs: further arguments of `NetworkMixing`: `activation` ("relu"), `use_bias` (true),
            `dropout` (0), `kernel_initializer`, `bias_initializer`, `num_tasks`, `task_names`,
            `name`, `dtype`.

    Raises:
        ValueError: no layer, a size that is not positive, or inputs that are not `[B, D]`.

    Example:

    >>> layer = SingleTask(hidden_dims=(57,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 57)
    """

    def num_networks(self):
        return self.num_tasks

    def mix(self, rows, training):
        for number in range(len(self.hidden_dims)):
            rows = self.layer(number, rows, training)  # [B, T, F]
        return rows, None
