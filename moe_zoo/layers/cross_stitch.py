"""Cross-stitch networks."""

from collections.abc import Callable, Sequence
from typing import Any

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
        ValueError: If there is no layer, a size is not positive, `stitch_initial` is not in
            [0, 1], or inputs are not `[B, D]`.

    Example:

    >>> layer = CrossStitch(hidden_dims=(57,), num_tasks=2)
    >>> tuple(layer(keras.random.normal((5, 100))).shape)
    (5, 2, 57)

    Reference: Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, arXiv
        1604.03539.

    Differs from the paper in: dense layers instead of convolutional ones, one `alpha` for all units
    of a layer instead of one for each channel, and any number of tasks.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        stitch_initial: float = 0.9,
        activation: str | Callable[[Any], Any] | None = "relu",
        use_bias: bool = True,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
        bias_regularizer: str | keras.regularizers.Regularizer | None = None,
        kernel_constraint: str | keras.constraints.Constraint | None = None,
        num_tasks: int | None = None,
        task_names: Sequence[str] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            hidden_dims,
            activation=activation,
            use_bias=use_bias,
            dropout=dropout,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            num_tasks=num_tasks,
            task_names=task_names,
            name=name,
            **kwargs,
        )
        self.stitch_initial = check_share("stitch_initial", stitch_initial)

    def num_networks(self) -> int:
        return self.num_tasks

    def build_mixing(self, width: int) -> None:
        super().build_mixing(width)
        self.stitches = [
            self.add_weight(
                name=f"stitch_{i}",
                shape=(self.num_tasks, self.num_tasks),
                initializer=self.stitch_start,
            )
            for i in range(len(self.hidden_dims))
        ]

    def stitch_start(self, shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
        """Return `alpha` before training: `<dtype>[T, T]` with rows that sum to 1."""
        others = max(self.num_tasks - 1, 1)
        diagonal = self.stitch_initial if self.num_tasks > 1 else 1.0
        padding = (1.0 - diagonal) / others
        alpha = tf.linalg.diag([diagonal] * self.num_tasks, padding_value=padding)
        return tf.cast(alpha, dtype or "float32")

    def mix(self, rows: tf.Tensor, training: bool | None) -> tuple[tf.Tensor, Any]:
        for number, stitch in enumerate(self.stitches):
            hidden = self.layer(number, rows, training)  # [B, T, F]
            rows = tf.einsum("ts,bsf->btf", tf.convert_to_tensor(stitch), hidden)
        return rows, None

    def get_config(self) -> dict:
        return {**super().get_config(), "stitch_initial": self.stitch_initial}
