"""One block of a Transformer."""

import inspect
from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.inputs import dense_inputs
from moe_zoo.parts import take_parts
from moe_zoo.quantizing import check_policy
from moe_zoo.recomputing import Recomputable
from moe_zoo.validation import check_rate

from .attention import Attention, Rotate
from .cache import KeyValues
from .hidden_layer import HiddenLayer
from .templates import default_norm, norm_like, revived, serialized


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerBlock(Recomputable):
    """Pre-norm block: attention, cross-attention if there is a memory, and a feed-forward layer.

    `x += Attention(norm(x))`, `x += CrossAttention(norm(x), memory)`, `x += FFN(norm(x))`, each
    sub-layer's output with dropout. The feed-forward layer may be a mixture of experts: a token
    that gets no expert passes through the residual connection.

    Args:
        attention: `Attention`.
        feed_forward: `FeedForward`, `GatedFeedForward`, `MoE` or another layer of the same width,
            which is given the mask if its call takes one.
        cross_attention: `Attention` or `None`.
        norm: Keras layer of which each sub-layer gets a copy; `None` is RMS normalization.
        dropout: `float`, rate on the sub-layers' outputs.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `<float>[B, T, D]`.
        memory: `<float>[B, L, D]` or `None`, of the cross-attention.
        bias: as `Attention` has it, for self-attention.
        rotate: as `Attention` has it, for self-attention.
        mask: `<bool>[B, T]` or `None`, tokens that are no padding. Padding takes no expert's slot.
        memory_mask: `<bool>[B, L]` or `None`.
        causal: `bool`, whether the bias hides later tokens and padding; else `mask` hides padding.
        training: `bool`.

    Returns:
        `<float>[B, T, D]`.

    Raises:
        ValueError: If another block has one of the layers.

    Example:

    >>> from moe_zoo.models.transformer import Attention, FeedForward
    >>> block = TransformerBlock(Attention(num_heads=2), FeedForward(hidden_dim=32))
    >>> tuple(block(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020, arXiv
        2002.04745; Fedus et al., "Switch Transformers", JMLR 2022, arXiv 2101.03961, figure 2.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        cross_attention: Attention | None = None,
        norm: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_policy(self)
        self.supports_masking = True
        self.autocast = False  # else Keras would round the bias to half precision
        norm = default_norm(self.dtype_policy) if norm is None else norm
        self.attention_norm = norm_like(norm, "attention_norm")
        self.attention = attention
        self.cross_attention = cross_attention
        if cross_attention is not None:
            self.cross_attention_norm = norm_like(norm, "cross_attention_norm")
        self.feed_forward_norm = norm_like(norm, "feed_forward_norm")
        self.feed_forward = feed_forward
        self.takes_mask = "mask" in inspect.signature(feed_forward.call).parameters
        self.dropout = keras.layers.Dropout(
            check_rate("dropout", dropout), dtype=self.dtype_policy, name="dropout"
        )
        take_parts(
            self,
            attention=attention,
            feed_forward=feed_forward,
            cross_attention=cross_attention,
        )

    def build(self, x_shape: tuple, memory_shape: tuple | None = None) -> None:
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: x_shape[-1]})
        layers = [self.attention_norm, self.attention, self.feed_forward_norm, self.feed_forward]
        if self.cross_attention is not None:
            layers.append(self.cross_attention_norm)
            if not self.cross_attention.built:
                self.cross_attention.build(x_shape, memory_shape or x_shape)
        for layer in layers:
            if not layer.built:  # a revived part comes built
                layer.build(x_shape)

    def call(
        self,
        x: Any,
        memory: tf.Tensor | None = None,
        bias: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        rotate: Rotate | None = None,
        causal: bool = False,
        training: bool | None = None,
    ) -> tf.Tensor:
        x = keras.ops.cast(dense_inputs(x), self.compute_dtype)
        options = {"bias": bias, "rotate": rotate, "training": training}
        y = self.attention_norm(x)
        x = self._add(x, self.attention(y, mask=None if causal else mask, **options), training)
        if self.cross_attention is not None:
            y = self.cross_attention_norm(x)
            y = self.cross_attention(y, memory, mask=memory_mask, training=training)
            x = self._add(x, y, training)
        return self._feed_forward(x, mask, training)

    def step(
        self,
        x: tf.Tensor,
        cache: tuple[KeyValues, ...],
        where: tf.Tensor,
        bias: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        rotate: Rotate | None = None,
    ) -> tuple[tf.Tensor, tuple[KeyValues, ...]]:
        """Feed one token, with the keys and values of those before it.

        Args:
            x: `<float>[B, 1, D]`.
            cache: tuple of `KeyValues`, of self-attention and, if there is one, of cross-attention.
            where: `<int32>[B, H_kv, 3]`, the token's place in the cache, from `KeyValues.at`.
            bias: `<float32>[B or 1, H or 1, 1, L]`, which hides the places after this one.
            mask: `<bool>[B, 1]` or `None`.
            memory_mask: as in the call.
            rotate: as in the call.

        Returns:
            `(<float>[B, 1, D], cache)`.
        """
        # Products of two axes are half as many operations as of three, which is what a step costs.
        y = tf.squeeze(self.attention_norm(x), 1)
        kept = cache[0].write(where, self.attention.project_memory(y, rotate))
        y = self.attention.attend_to(y, kept, bias, rotate=rotate)
        x = self._add(x, tf.expand_dims(y, 1))
        if self.cross_attention is not None:
            y = tf.squeeze(self.cross_attention_norm(x), 1)
            y = self.cross_attention.attend_to(y, cache[1], mask=memory_mask)
            x = self._add(x, tf.expand_dims(y, 1))
        if isinstance(self.feed_forward, HiddenLayer):
            y = self.feed_forward(tf.squeeze(self.feed_forward_norm(x), 1))
            x = self._add(x, tf.expand_dims(y, 1))
        else:
            x = self._feed_forward(x, mask)
        return x, (kept, *cache[1:])

    def _feed_forward(
        self, x: tf.Tensor, mask: tf.Tensor | None, training: bool | None = None
    ) -> tf.Tensor:
        y = self.feed_forward_norm(x)
        given = {"mask": mask} if self.takes_mask else {}
        return self._add(x, self.feed_forward(y, training=training, **given), training)

    def _add(self, x: tf.Tensor, y: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return x + keras.ops.cast(self.dropout(y, training=training), x.dtype)

    def compute_output_shape(self, x_shape: tuple, memory_shape: tuple | None = None) -> tuple:
        return x_shape

    def get_config(self) -> dict:
        parts = {
            "attention": self.attention,
            "feed_forward": self.feed_forward,
            "cross_attention": self.cross_attention,
            "norm": self.attention_norm,
        }
        parts = {name: serialized(part) for name, part in parts.items()}
        return {**super().get_config(), **parts, "dropout": self.dropout.rate}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return cls(**revived(config, ("attention", "feed_forward", "cross_attention", "norm")))
