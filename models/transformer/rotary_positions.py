"""Rotary positions: queries and keys are turned by an angle that grows with their position."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_at_least

from .positions import Positions


def rotate_pairs(x: tf.Tensor, positions: tf.Tensor, base: float = 10000.0) -> tf.Tensor:
    """Turn the pair of numbers i and `i + d/2` by the angle `position * base^(-2i/d)`.

    The product of a query and a key then depends on the distance of their positions only (Su et al.
    2021, section 3).

    Args:
        x: `<dtype>[B, H, T, d]`, d even.
        positions: `<int32>[T]` or `<int32>[B, T]`.
        base: `float`.

    Returns:
        `<dtype>[B, H, T, d]`; computed in float32.

    Example:

    >>> x = tf.constant([[[[1.0, 0.0]]]])
    >>> rotate_pairs(x, tf.constant([1])).numpy().round(4)  # cos 1, sin 1
    array([[[[0.5403, 0.8415]]]], dtype=float32)
    """
    half = x.shape[-1] // 2
    frequencies = base ** (-tf.range(half, dtype=tf.float32) / half)
    angles = tf.expand_dims(tf.cast(positions, tf.float32), -1) * frequencies  # [(B,) T, d / 2]
    if len(angles.shape) == 3:
        angles = tf.expand_dims(angles, 1)  # alike for all heads
    cos, sin = tf.cos(angles), tf.sin(angles)
    full = tf.cast(x, tf.float32)
    first, second = full[..., :half], full[..., half:]
    turned = tf.concat([first * cos - second * sin, second * cos + first * sin], -1)
    return tf.cast(turned, x.dtype)


@keras.saving.register_keras_serializable(package="moe_zoo")
class RotaryPositions(Positions):
    """Rotary positions: `score(q, k) = (R_m q) (R_n k)`, which depends on `m - n`.

    Args:
        base: `float`, of the angles' geometric series.
        num_heads: `int` or `None`, H; a stack sets it.
        causal: `bool`, whether no token looks at later ones; a stack sets it.
        **kwargs: `name`.

    Raises:
        ValueError: If `base` is not above 1, or heads are of an odd size.

    Example:

    >>> turned = RotaryPositions().rotate(tf.ones([2, 3, 5, 8]), tf.range(5))
    >>> tuple(turned.shape)
    (2, 3, 5, 8)

    Reference: Su et al., "RoFormer", 2021, arXiv 2104.09864.

    Differs from the paper in: which numbers make a pair, i and `i + d/2` in place of neighbors.
    """

    def __init__(
        self,
        base: float = 10000.0,
        num_heads: int | None = None,
        causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(num_heads, causal, **kwargs)
        self.base = check_at_least("base", base, 1.0, "10,000 is common.")
        if self.base == 1.0:
            raise ValueError("Expected a base above 1. Received: base=1.0. 10000 is common.")

    def bias(self, queries: tf.Tensor, keys: tf.Tensor) -> None:
        return None

    def rotate(self, x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        if x.shape[-1] % 2:
            raise ValueError(
                f"Expected heads of an even size. Received: head_dim={x.shape[-1]}. Give Attention "
                "another head_dim."
            )
        return rotate_pairs(x, positions, self.base)

    def get_config(self) -> dict:
        return {**super().get_config(), "base": self.base}
