"""Multi-head attention as a layer."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.clones import initializer_like
from moe_zoo.inputs import mask_of
from moe_zoo.plans.gathers import shape_of
from moe_zoo.quantizing import check_policy
from moe_zoo.scopes import GROUP, constrain
from moe_zoo.validation import check_at_least, check_bool, check_int, check_rate

from .attend import attend
from .cache import KeyValues

Rotate = Callable[[tf.Tensor], tf.Tensor]


@keras.saving.register_keras_serializable(package="moe_zoo")
class Attention(keras.layers.Layer):
    """Multi-head attention: `concat_h(softmax(scale Q_h K_h^T + bias) V_h) W_o`.

    `Q = x W_q`, `K = m W_k`, `V = m W_v` with the memory m, which in self-attention is x itself.
    Head h is a contiguous slice of each. With fewer heads of keys and values than of queries this
    is grouped-query attention. The softmax is in float32 under every dtype policy.

    Args:
        num_heads: `int`, H, heads of queries.
        head_dim: `int` or `None`, d; `None` is the width divided by H. H * d may differ from the
            width.
        num_kv_heads: `int` or `None`, heads of keys and values, which divide H; `None` is H.
        scale: `float` or `None`; `None` is `d^-1/2`. T5 and Switch Transformers have 1.
        use_bias: `bool`, biases in the four projections.
        dropout: `float`, rate on the attention's weights.
        kernel_initializer: Keras initializer of the four projections.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `<float>[B, Q, D]`.
        memory: `<float>[B, L, D_m]`; `None` is x.
        bias: `<float32>[B or 1, H or 1, Q, L]` or `None`, added to the scores: positions, and -1e9
            for keys that are not to be seen.
        mask: `<bool>[B, L]` or `None`, keys to attend to.
        rotate: function `<dtype>[B, H, T, d]` to the same of queries and of keys, or `None`.
        training: `bool`.

    Returns:
        `<float>[B, Q, D]`.

    Raises:
        ValueError: If a size is not positive, H does not divide the width where `head_dim` is
            `None`, or `num_kv_heads` does not divide H.

    Example:

    >>> layer = Attention(num_heads=4, num_kv_heads=2)
    >>> tuple(layer(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Vaswani et al., 2017, arXiv 1706.03762; Ainslie et al., "GQA", 2023, arXiv
        2305.13245.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        num_kv_heads: int | None = None,
        scale: float | None = None,
        use_bias: bool = False,
        dropout: float = 0.0,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_policy(self)
        self.autocast = False  # else Keras would round the bias; the projections cast x themselves
        self.num_heads = check_int("num_heads", num_heads, least=1)
        self.head_dim = None if head_dim is None else check_int("head_dim", head_dim, least=1)
        if num_kv_heads is not None:
            num_kv_heads = check_int("num_kv_heads", num_kv_heads, least=1)
        if num_kv_heads is not None and self.num_heads % num_kv_heads:
            raise ValueError(
                f"Expected num_kv_heads that divide num_heads={num_heads}. Received: "
                f"num_kv_heads={num_kv_heads}. Leave it out for one head of keys for each of "
                "queries."
            )
        self.num_kv_heads = num_kv_heads
        if scale is not None:
            scale = check_at_least("scale", scale, 0.0, "None is 1 / sqrt(head_dim).")
        self.scale = scale
        self.use_bias = check_bool("use_bias", use_bias)
        self.dropout = keras.layers.Dropout(
            check_rate("dropout", dropout), dtype=self.dtype_policy, name="dropout"
        )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape: tuple, memory_shape: tuple | None = None) -> None:
        width = x_shape[-1]
        if self.head_dim is None and width % self.num_heads:
            raise ValueError(
                f"Expected a width that num_heads={self.num_heads} divides. Received: "
                f"width={width}. Change one of them or give head_dim."
            )
        size = self.head_dim or width // self.num_heads
        shared = self.num_kv_heads or self.num_heads
        self.score_scale = size**-0.5 if self.scale is None else self.scale
        self.kv_shape = (shared, size)
        self.query = self._dense("query", self.num_heads * size, 0)
        self.key = self._dense("key", shared * size, 1)
        self.value = self._dense("value", shared * size, 2)
        self.out = self._dense("output", width, 3)  # Keras keeps the name `output` for itself
        self.query.build(x_shape)
        self.key.build(memory_shape or x_shape)
        self.value.build(memory_shape or x_shape)
        self.out.build((*x_shape[:-1], self.num_heads * size))

    def call(
        self,
        x: Any,
        memory: Any = None,
        bias: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        rotate: Rotate | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        memory = x if memory is None else memory
        mask = mask_of(mask, memory)
        return self.attend_to(x, self.project_memory(memory, rotate), bias, mask, rotate, training)

    def project_memory(self, memory: tf.Tensor, rotate: Rotate | None = None) -> KeyValues:
        """Return the keys and values of a memory.

        Args:
            memory: `<float>[B, L, D_m]`, or `<float>[B, D_m]` of one token.
            rotate: function `<dtype>[B, H, L, d]` to the same of keys, or `None`.

        Returns:
            `KeyValues`.
        """
        keys = _split(self.key(memory), *self.kv_shape)
        values = _split(self.value(memory), *self.kv_shape)
        return KeyValues(keys if rotate is None else rotate(keys), values)

    def attend_to(
        self,
        x: tf.Tensor,
        memory: KeyValues,
        bias: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        rotate: Rotate | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Attend to a memory whose keys and values are known.

        Args:
            x: `<float>[B, Q, D]`, or `<float>[B, D]` of one token.
            memory: `KeyValues`, as `project_memory` returns them.
            bias: as in the call.
            mask: as in the call.
            rotate: as in the call.
            training: `bool`.

        Returns:
            `<float>[B, Q, D]`, or `<float>[B, D]` of one token.
        """
        queries = _split(self.query(x), self.num_heads, self.kv_shape[1])
        if rotate is not None:
            queries = rotate(queries)

        def drop(weights: tf.Tensor) -> tf.Tensor:
            return self.dropout(weights, training=training)

        heads = attend(queries, memory.keys, memory.values, bias, mask, self.score_scale, drop)
        return self.out(_merge(heads, single_token=len(x.shape) == 2))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        return None  # the mask of the call is the memory's

    def compute_output_shape(self, x_shape: tuple, memory_shape: tuple | None = None) -> tuple:
        return x_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "num_kv_heads": self.num_kv_heads,
            "scale": self.scale,
            "use_bias": self.use_bias,
            "dropout": self.dropout.rate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    def _dense(self, name: str, units: int, number: int) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=initializer_like(self.kernel_initializer, number),
            dtype=self.dtype_policy,
            name=name,
        )


def _split(x: tf.Tensor, heads: int, size: int) -> tf.Tensor:
    """Split heads: `<dtype>[B, T, H d]`, or `<dtype>[B, H d]` of one token, to `[B, H, T, d]`."""
    if len(x.shape) == 2:
        return tf.reshape(x, [-1, heads, 1, size])
    batch, length = shape_of(x)[:2]
    x = tf.transpose(tf.reshape(x, [batch, length, heads, size]), [0, 2, 1, 3])
    return constrain(x, GROUP)


def _merge(x: tf.Tensor, single_token: bool) -> tf.Tensor:
    """Join heads: `<dtype>[B, H, T, d]` to `[B, T, H d]`, or to `[B, H d]` for a single token."""
    batch, heads, length, size = shape_of(x)
    if single_token:
        return tf.reshape(x, [-1, heads * size])
    x = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch, length, heads * size])
    return constrain(x, GROUP)
