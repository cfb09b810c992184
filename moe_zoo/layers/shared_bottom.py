"""The shared bottom."""

import keras
import tensorflow as tf

from .network_mixing import NetworkMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class SharedBottom(NetworkMixing):
    """One network for all tasks: `f^t(x) = f(x)` (Ma et al. 2018, section 3.1).

    Caruana's (1997) hard parameter sharing, the baseline of all mixtures.

    Args:
        hidden_dims: units of each layer; the last ones are U.
        **kwargs: further arguments of `NetworkMixing`: `activation` ("relu"), `use_bias` (true),
            `dropout` (0), `kernel_initializer`, `bias_initializer`, `num_tasks`, `task_names`,
            `name`, `dtype`.

    Raises:
        ValueError: no layer, a size that is not positive, or inputs that are not `[B, D]`.

    Example:

    >>> layer = SharedBottom(hidden_dims=(113,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 113)

    Reference: Caruana, "Multitask Learning", Machine Learning 28, 1997; Ma et al., KDD 2018.
    """

    def num_networks(self):
        return 1

    def mix(self, rows, training):
        for number in range(len(self.hidden_dims)):
            rows = self.layer(number, rows, training)  # [B, 1, F]
        return tf.tile(rows, [1, self.num_tasks, 1]), None
