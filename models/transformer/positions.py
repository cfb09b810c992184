"""How a Transformer knows the order of its tokens."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.validation import check_bool, check_int


class Positions(keras.layers.Layer):
    """Positions in self-attention: a bias on its scores, or a rotation of its queries and keys.

    Subclasses fill in `bias` and `rotate`. A stack makes one of its own from the one it is given,
    with its number of heads and its direction, and uses it in the self-attention of every block.

    Whatever the dtype policy, angles and biases are computed in float32.

    Args:
        num_heads: `int` or `None`, H; a stack sets it.
        causal: `bool`, whether no token looks at later ones; a stack sets it.
        **kwargs: `name`.
    """

    def __init__(self, num_heads: int | None = None, causal: bool = False, **kwargs: Any):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.num_heads = None if num_heads is None else check_int("num_heads", num_heads, least=1)
        self.causal = check_bool("causal", causal)

    def build(self, input_shape: tuple | None = None) -> None:
        """Make the weights, if there are any; they depend on no input."""

    def bias(self, queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor | None:
        """Return what is added to the scores.

        Args:
            queries: `<int32>[Q]`, positions; `<int32>[B, Q]` where each row has its own.
            keys: `<int32>[L]` or `<int32>[B, L]`, as the queries.

        Returns:
            `<float32>[1 or B, H, Q, L]`, or `None` for nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define bias().")

    def rotate(self, x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Return queries or keys turned by their positions.

        Args:
            x: `<dtype>[B, H, T, d]`.
            positions: `<int32>[T]` or `<int32>[B, T]`.

        Returns:
            `<dtype>[B, H, T, d]`; `x` itself where positions turn nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define rotate().")

    def get_config(self) -> dict:
        return {**super().get_config(), "num_heads": self.num_heads, "causal": self.causal}
