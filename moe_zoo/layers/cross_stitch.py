"""Cross-stitch networks."""

import keras
import tensorflow as tf

from moe_zoo.validation import check_share

from .network_mixing import NetworkMixing


@keras.saving.register_keras_serializable(package="moe_zoo")
class CrossStitch(NetworkMixing):
    """A network for each task, and after each layer a learned mixture of what all of them have.

    `h^t <- sum_s alpha_ts h^s` (Misra et al. 2016, section 3), with one `alpha` a layer for all
    units. The sum over s of `alpha_ts` starts at 1.

    Args:
        hidden_dims: units of each layer; the last ones are U.
        stitch_initial: `float`, `alpha_tt` at the start; the other tasks share the rest equally.
        **kwargs: further arguments of `NetworkMixing`: `activation` ("relu"), `use_bias` (true),
            `dropout` (0), `kernel_initializer`, `bias_initializer`, `num_tasks`, `task_names`,
            `name`, `dtype`.

    Raises:
        ValueError: no layer, a size that is not positive, a `stitch_initial` outside of [0, 1], or
            inputs that are not `[B, D]`.

    Example:

    >>> layer = CrossStitch(hidden_dims=(57,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 57)

    Reference: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, arXiv
        1604.03539.

    Differs from the paper in: dense layers instead of convolutional ones, one `alpha` for all units
    of a layer instead of one for each channel, and any number of tasks.
    """

    def __init__(self, hidden_dims, stitch_initial=0.9, **kwargs):
        super().__init__(hidden_dims, **kwargs)
        self.stitch_initial = check_share("stitch_initial", stitch_initial)

    def num_networks(self):
        return self.num_tasks

    def build_mixing(self, width):
        super().build_mixing(width)
        self.stitches = [
            self.add_weight(
                name=f"stitch_{i}",
                shape=(self.num_tasks, self.num_tasks),
                initializer=self.stitch_start,
            )
            for i in range(len(self.hidden_dims))
        ]

    def stitch_start(self, shape, dtype=None):
        """`alpha` before training: `<dtype>[T, T]` with rows that sum to 1."""
        others = max(self.num_tasks - 1, 1)
        own = self.stitch_initial if self.num_tasks > 1 else 1.0
        alpha = tf.linalg.diag([own] * self.num_tasks, padding_value=(1.0 - own) / others)
        return tf.cast(alpha, dtype or "float32")

    def mix(self, rows, training):
        for number, stitch in enumerate(self.stitches):
            hidden = self.layer(number, rows, training)  # [B, T, F]
            rows = tf.einsum("ts,bsf->btf", tf.convert_to_tensor(stitch), hidden)
        return rows, None

    def get_config(self):
        return {**super().get_config(), "stitch_initial": self.stitch_initial}
