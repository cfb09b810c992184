"""A stack of Transformer blocks, some of them with mixtures of experts."""

from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.clones import cloned, reseeded
from moe_zoo.inputs import dense_inputs, mask_of
from moe_zoo.layers import MoE
from moe_zoo.plans.gathers import shape_of
from moe_zoo.quantizing import check_policy
from moe_zoo.validation import check_bool, check_int, check_rate

from .attend import NEVER
from .attention import Attention, Rotate
from .block import TransformerBlock
from .cache import KeyValues
from .checks import check_causal, check_length
from .padding import hidden_keys, positions_of, repeat_last
from .positions import Positions
from .templates import TEMPLATES, default_norm, norm_like, revived_templates, serialized


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerStack(keras.layers.Layer):
    """Pre-norm Transformer blocks and a final norm: an encoder, or with `causal` a decoder.

    Every layer given is a template: each block gets an unbuilt copy of it with other initial
    weights. Block b (from 0) has a mixture of experts in place of the feed-forward layer if
    `moe_every` is 1 or `b % moe_every == 1`, as in Switch Transformers.

    Args:
        attention: `Attention`.
        feed_forward: `FeedForward`, `GatedFeedForward` or another layer of the same width.
        num_layers: `int`, blocks.
        moe: `MoE`, or any layer for the sparse blocks; `None` for none.
        moe_every: `int`; 0 is none, 1 is every block, 2 every other one.
        position: `RelativePositions`, `RotaryPositions`, or `None` for no order at all.
        norm: Keras layer; `None` is RMS normalization.
        causal: `bool`, no token looks at later ones.
        cross_attention: `bool`, every block looks at a memory too.
        dropout: `float`, rate on the input, after each sub-layer and after the final norm.
        max_length: `int` or `None`, the most tokens of a row.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `<float>[B, T, D]`.
        mask: `<bool>[B, T]` or `None`, tokens that are no padding, which may stand anywhere. No
            token attends to padding, and it takes no expert's slot. In a causal stack the position
            of a token is the number of real ones before it; else padding between two tokens counts
            in their distance, as T5 has it.
        memory: `<float>[B, L, D]`, of cross-attention.
        memory_mask: `<bool>[B, L]` or `None`.
        training: `bool`.

    Returns:
        `<float>[B, T, D]`. In a causal stack padding repeats what the last real token before it
        has, zeros if there is none.

    Raises:
        ValueError: If a size is not positive, rows are longer than `max_length`, or a router looks
            ahead in a causal stack.

    Warns:
        UserWarning: If a router of a causal stack has `batch_priority`, by which later tokens take
            slots of earlier ones.

    Example:

    >>> from moe_zoo.models.transformer import Attention, FeedForward, RotaryPositions
    >>> stack = TransformerStack(
    ...     Attention(num_heads=2), FeedForward(32), num_layers=3, position=RotaryPositions()
    ... )
    >>> tuple(stack(keras.random.normal((2, 5, 16))).shape)
    (2, 5, 16)

    Reference: Raffel et al., "T5", JMLR 2020, arXiv 1910.10683; Fedus et al., "Switch
        Transformers", JMLR 2022, arXiv 2101.03961.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        num_layers: int,
        moe: keras.layers.Layer | None = None,
        moe_every: int = 2,
        position: Positions | None = None,
        norm: keras.layers.Layer | None = None,
        causal: bool = False,
        cross_attention: bool = False,
        dropout: float = 0.0,
        max_length: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_policy(self)
        self.supports_masking = True
        num_layers = check_int("num_layers", num_layers, least=1)
        self.moe_every = check_int("moe_every", moe_every, least=0)
        self.causal = check_bool("causal", causal)
        self.has_memory = check_bool("cross_attention", cross_attention)
        self.max_length = None if max_length is None else check_int("max_length", max_length, 1)
        if self.causal:
            for layer in (feed_forward, moe):
                check_causal(layer)
        norm = default_norm(self.dtype_policy) if norm is None else norm
        templates = (attention, feed_forward, norm, moe, position)
        self.templates = dict(zip(TEMPLATES, map(serialized, templates), strict=True))
        if position is not None:
            position = cloned(
                position, 0, "position", num_heads=attention.num_heads, causal=self.causal
            )
        self.position = position
        self.blocks = []
        sparse = [] if moe is None else sparse_blocks(num_layers, self.moe_every)
        for i in range(num_layers):
            kind = moe if i in sparse else feed_forward
            self.blocks.append(self._block(i, num_layers, attention, kind, norm, dropout))
        self.norm = norm_like(norm, "norm")
        self.dropout = keras.layers.Dropout(
            check_rate("dropout", dropout), dtype=self.dtype_policy, name="dropout"
        )

    def build(self, x_shape: tuple, memory_shape: tuple | None = None) -> None:
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: x_shape[-1]})
        check_length(x_shape[1], self.max_length)
        self.width = x_shape[-1]
        if self.position is not None:
            self.position.build()
        for block in self.blocks:
            block.build(x_shape, memory_shape or x_shape)
        self.norm.build(x_shape)

    def call(
        self,
        x: Any,
        mask: Any = None,
        memory: tf.Tensor | None = None,
        memory_mask: Any = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        x = dense_inputs(x)
        mask, memory_mask = mask_of(mask, x), mask_of(memory_mask, memory)
        length = check_length(shape_of(x)[1], self.max_length)
        places = positions = tf.range(length)
        mask = None if mask is None else tf.cast(mask, tf.bool)
        hidden = None
        if self.causal:
            positions = places if mask is None else positions_of(mask)
            hidden = hidden_keys(places, mask)
        shared = {
            "bias": self._bias(positions, positions, hidden),
            "rotate": self._rotation(positions),
            "mask": mask,
            "causal": self.causal,
            "training": training,
        }
        if self.has_memory:
            shared.update(memory=memory, memory_mask=memory_mask)
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, **shared)
        x = self.dropout(self.norm(x), training=training)
        return repeat_last(x, hidden) if self.causal and mask is not None else x

    # === Generation ===

    def initial_cache(
        self,
        batch_size: int | tf.Tensor,
        length: int | tf.Tensor,
        memory: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
    ) -> dict:
        """Return the states that `step` needs before the first token.

        Args:
            batch_size: `int` or `<int32>[]`, B.
            length: `int` or `<int32>[]`, the most tokens that will be fed to a row.
            memory: `<float>[B, L, D]` or `None`; its keys and values are computed here, once.
            memory_mask: `<bool>[B, L]` or `None`.

        Returns:
            `dict` of tensors, all with the batch as first axis.
        """
        length = check_length(length, self.max_length)
        blocks = []
        for block in self.blocks:
            heads, size = block.attention.kv_shape
            empty = tf.zeros([batch_size, heads, length, size], block.attention.compute_dtype)
            kept = [KeyValues(empty, empty)]
            if block.cross_attention is not None:
                kept.append(block.cross_attention.project_memory(memory))
            blocks.append(tuple(kept))
        cache = {
            "blocks": blocks,
            "padding": tf.zeros([batch_size], tf.int32),  # tokens so far
            "last": tf.zeros([batch_size, self.width], self.norm.compute_dtype),  # real one's
        }
        if self.has_memory:
            everything = tf.ones(shape_of(memory)[:2], tf.bool)
            cache["memory_mask"] = everything if memory_mask is None else memory_mask
        return cache

    def step(
        self, x: tf.Tensor, cache: dict, place: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, dict]:
        """Feed one token, at the cost of one token.

        Args:
            x: `<float>[B, D]`.
            cache: `dict`, as `initial_cache` or the last step returned it.
            place: `<int32>[]`, the token's place in its row, from 0.
            mask: `<bool>[B]` or `None`, as in the call. The next token overwrites the keys and
                values of padding.

        Returns:
            `(<float>[B, D], cache)`.
        """
        position = place - cache["padding"]
        x = tf.expand_dims(x, 1)
        first = cache["blocks"][0][0]
        where = first.at(position)
        position = tf.expand_dims(position, 1)  # [B, 1]
        slots = tf.expand_dims(tf.range(shape_of(first.keys)[2]), 0)
        bias = self._bias(position, slots, tf.expand_dims(slots > position, 1))
        token_mask = None if mask is None else tf.expand_dims(mask, 1)
        blocks = []
        for block, kept in zip(self.blocks, cache["blocks"], strict=True):
            x, kept = block.step(
                x, kept, where, bias, token_mask, cache.get("memory_mask"), self._rotation(position)
            )
            blocks.append(kept)
        x, padding = tf.squeeze(self.norm(x), 1), cache["padding"]
        if mask is not None:
            x = tf.where(token_mask, x, cache["last"])
            padding += tf.cast(~mask, tf.int32)
        return x, {**cache, "blocks": blocks, "padding": padding, "last": x}

    # === Parts ===

    def _block(
        self,
        i: int,
        num_layers: int,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        norm: keras.layers.Layer,
        dropout: float,
    ) -> TransformerBlock:
        name = f"{self.name}_moe_{i}" if isinstance(feed_forward, MoE) else "feed_forward"
        cross = None
        if self.has_memory:
            cross = cloned(attention, num_layers + i, "cross_attention")
        return TransformerBlock(
            cloned(attention, i, "attention"),
            cloned(feed_forward, i, name),
            cross,
            norm,
            dropout,
            dtype=self.dtype_policy,
            name=f"block_{i}",
        )

    def _bias(
        self, queries: tf.Tensor, keys: tf.Tensor, hidden: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Return the bias of positions and hidden keys: `<float32>[B or 1, H or 1, Q, L]`."""
        bias = None if self.position is None else self.position.bias(queries, keys)
        if hidden is None:
            return bias
        hidden = tf.expand_dims(tf.where(hidden, NEVER, 0.0), 1)
        return hidden if bias is None else bias + hidden

    def _rotation(self, places: tf.Tensor) -> Rotate | None:
        if self.position is None:
            return None
        rotate = self.position.rotate
        return lambda heads: rotate(heads, places)

    def compute_output_shape(self, x_shape: tuple, memory_shape: tuple | None = None) -> tuple:
        return x_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            **self.templates,
            "moe": self._mixture_now(),
            "num_layers": len(self.blocks),
            "moe_every": self.moe_every,
            "causal": self.causal,
            "cross_attention": self.has_memory,
            "dropout": self.dropout.rate,
            "max_length": self.max_length,
        }

    def _mixture_now(self) -> dict | None:
        """Return the template of the sparse blocks with the present settings of the first of them.

        Settings of routers, such as capacities, may change between training and serving.
        """
        template, sparse = self.templates["moe"], sparse_blocks(len(self.blocks), self.moe_every)
        if template is None or not sparse:
            return template
        config = reseeded(serialized(self.blocks[sparse[0]].feed_forward), -sparse[0])
        config["config"]["name"] = template["config"]["name"]
        return config

    def model_config(self) -> dict:
        """Return the part of a model's configuration that its stack defines."""
        config = self.get_config()
        names = (*TEMPLATES, "num_layers", "moe_every", "dropout", "max_length")
        return {name: config[name] for name in names}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        return cls(**revived_templates(config))


def sparse_blocks(num_layers: int, moe_every: int) -> list[int]:
    """Return the numbers of the sparse blocks of a stack, from 0.

    Args:
        num_layers: `int`, blocks.
        moe_every: `int`; 1 for all blocks, 0 for none.

    Example:

    >>> sparse_blocks(12, 3)
    [1, 4, 7, 10]
    """
    return [b for b in range(num_layers) if moe_every == 1 or moe_every > 1 and b % moe_every == 1]
