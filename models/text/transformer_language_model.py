"""The decoder-only Transformer with mixtures of experts."""

from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models.transformer.attention import Attention
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.head import Head
from moe_zoo.models.transformer.padding import PaddingMask
from moe_zoo.models.transformer.positions import Positions
from moe_zoo.models.transformer.presets import TRANSFORMER_LANGUAGE_MODELS
from moe_zoo.models.transformer.rotary_positions import RotaryPositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.validation import check_bool

from .language_model import LanguageModel
from .padded_targets import PaddedTargets
from .text_model import AnyTokenizer, rows_of_embedding
from .transformer_model import TransformerModel


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerLanguageModel(LanguageModel, PaddedTargets, TransformerModel):
    """Embedding, causal Transformer blocks, final norm, logits of the next token.

    Args:
        vocabulary_size: `int` or `None`, V; `None` is the tokenizer's.
        width: `int`, D.
        num_layers: `int`, blocks.
        attention: `Attention`; each block gets a copy of it, as of all layers given.
        feed_forward: `FeedForward`, `GatedFeedForward` or another layer of the same width.
        moe: `MoE`, or any layer for the sparse blocks; `None` for none.
        moe_every: `int`; 0 is none, 1 is every block, 2 every other one, from the second.
        position: `RotaryPositions`, which `None` is, or `RelativePositions`.
        norm: Keras layer; `None` is RMS normalization.
        dropout: `float`, rate on the embedding, after each sub-layer and after the final norm.
        tie_head: `bool`, the logits are products with the embedding; else with weights of their
            own.
        max_length: `int` or `None`, the most tokens of a row.
        pad_id: `int`, the id of padding, which may stand before, between or after tokens and
            changes nothing. At padding the logits are those of the last token before it.
        begins_with_padding: `bool`, rows begin with `pad_id`, as T5's texts do: the first token of
            a row is then real whatever it is.
        tokenizer: `Tokenizer` or `SentencepieceTokenizer` of the vocabulary, for texts; `None` for
            ids alone.
        embeddings_initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy of all layers but those given, which have their own.
        **kwargs: `name`.

    Input: `<int32>[B, T]`, token ids. Output: `<float>[B, T, V]`, logits of the next token.
    Compiled losses and metrics leave out positions whose target is padding; see `PaddedTargets`.

    Raises:
        ValueError: If a size is not positive, rows are longer than `max_length`, or a router looks
            ahead.

    Warns:
        UserWarning: If a router has `batch_priority`.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.models.transformer import Attention, FeedForward
    >>> from moe_zoo.routers import SwitchRouter
    >>> moe = MoE(SwitchRouter(), FeedForwardExperts(num_experts=4, hidden_dim=32))
    >>> model = TransformerLanguageModel(
    ...     100, 16, 2, Attention(num_heads=2), FeedForward(hidden_dim=32), moe
    ... )
    >>> tuple(model(keras.ops.ones((2, 7), "int32")).shape)
    (2, 7, 100)

    Reference: Vaswani et al., 2017, arXiv 1706.03762; Fedus et al., "Switch Transformers", JMLR
        2022, arXiv 2101.03961.
    """

    presets = TRANSFORMER_LANGUAGE_MODELS

    def __init__(
        self,
        vocabulary_size: int | None,
        width: int,
        num_layers: int,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        moe: keras.layers.Layer | None = None,
        moe_every: int = 2,
        position: Positions | None = None,
        norm: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        tie_head: bool = True,
        max_length: int | None = None,
        pad_id: int = 0,
        begins_with_padding: bool = False,
        embeddings_initializer: str | keras.initializers.Initializer | None = None,
        dtype: Any = None,
        tokenizer: AnyTokenizer | None = None,
        **kwargs: Any,
    ):
        vocabulary_size = rows_of_embedding(vocabulary_size, tokenizer)
        policy = keras.dtype_policies.get(dtype)
        begins = check_bool("begins_with_padding", begins_with_padding)
        tie_head = check_bool("tie_head", tie_head)

        # === Layers ===
        embedding = token_embedding(vocabulary_size, width, embeddings_initializer, policy)
        head = Head(embedding, tie_head, policy)
        padding_mask = PaddingMask(pad_id, begins, name="padding_mask")
        decoder = TransformerStack(
            attention,
            feed_forward,
            num_layers,
            moe,
            moe_every,
            RotaryPositions() if position is None else position,
            norm,
            causal=True,
            dropout=dropout,
            max_length=max_length,
            dtype=policy,
            name="decoder",
        )

        # === Functional Model ===
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        x = decoder(embedding(tokens), mask=padding_mask(tokens))
        super().__init__(inputs=tokens, outputs=head(x), **kwargs)

        # === Config ===
        self.embedding, self.decoder, self.padding_mask = embedding, decoder, padding_mask
        self.logits, self.head = head, head.dense
        self.begins_with_padding = padding_mask.keep_first
        self.vocabulary_size, self.width = embedding.input_dim, embedding.output_dim
        self.max_length, self.pad_id = decoder.max_length, padding_mask.pad_id
        self.dtype_policy = policy
        self.tokenizer = tokenizer

    def real_tokens(self, inputs: Any) -> tf.Tensor:
        return self.padding_mask(inputs)

    def initial_states(self, batch_size: int | tf.Tensor, length: int | tf.Tensor) -> Any:
        """Return the states before the first token.

        Args:
            batch_size: `int` or `<int32>[]`, B.
            length: `int` or `<int32>[]`, the most tokens that a row will be fed.

        Returns:
            A nest of tensors whose first axis is the batch.
        """
        return self.decoder.initial_cache(batch_size, length)

    def step(self, tokens: tf.Tensor, states: Any, place: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Return the logits of what follows a token, and the next states.

        Args:
            tokens: `<int32>[B]`.
            states: as `initial_states` or the last step returned them.
            place: `<int32>[]`, the token's place in its row, from 0.

        Returns:
            `(<float32>[B, V] logits, states)`.
        """
        token_mask = self.padding_mask.at(tokens, place)
        x, states = self.decoder.step(self.embedding(tokens), states, place, token_mask)
        return keras.ops.cast(self.logits(x), "float32"), states

    def get_config(self) -> dict:
        return {
            **self.config_with(self.decoder),
            "tie_head": self.head is None,
            "begins_with_padding": self.begins_with_padding,
        }
