"""The encoder-decoder Transformer with mixtures of experts, as T5 and Switch Transformers."""

import os
from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.clones import cloned, initializer_like
from moe_zoo.models.checks import checked
from moe_zoo.models.published.loading import load_model
from moe_zoo.models.published.saving import save_model
from moe_zoo.models.transformer.attention import Attention
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.head import Head
from moe_zoo.models.transformer.padding import PaddingMask
from moe_zoo.models.transformer.positions import Positions
from moe_zoo.models.transformer.presets import TRANSFORMER_SEQ2SEQS
from moe_zoo.models.transformer.relative_positions import RelativePositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.routers import Router
from moe_zoo.validation import check_bool, check_int

from .padded_targets import PaddedTargets
from .text_model import AnyTokenizer, rows_of_embedding
from .transformer_model import TransformerModel
from .translator import Translator


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerSeq2Seq(PaddedTargets, Translator, TransformerModel):
    """Encoder of a source text, decoder of a target text, logits of its next token.

    Args:
        vocabulary_size: `int` or `None`, V; `None` is the tokenizer's.
        width: `int`, D.
        num_layers: `int`, blocks of the encoder.
        num_decoder_layers: `int` or `None`, blocks of the decoder; `None` is as many.
        attention: `Attention`; each block gets a copy of it, as of all layers given.
        feed_forward: `FeedForward`, `GatedFeedForward` or another layer of the same width.
        moe: `MoE`, or any layer for the sparse blocks; `None` for none.
        moe_every: `int`; 0 is none, 1 is every block, 2 every other one, from the second.
        decoder_moe_every: `int` or `None`, the same of the decoder; `None` is `moe_every`.
        position: `RelativePositions`, which `None` is, or `RotaryPositions`; each stack has its
            own.
        norm: Keras layer; `None` is RMS normalization.
        dropout: `float`, rate on the embedding, after each sub-layer and after the final norm.
        tie_head: `bool`, the logits are products with the embedding; else with weights of their
            own.
        share_embeddings: `bool`, source and target have one embedding.
        max_length: `int` or `None`, the most tokens of a source and of a target.
        pad_id: `int`, the id of padding, which may stand before, between or after tokens and
            changes nothing. At padding the logits are those of the last token before it. Padding
            between two tokens of a source is masked, but counts in their distance, as in T5.
        begins_with_padding: `bool`, targets begin with `pad_id`, as T5's do: the first token of a
            target is then real whatever it is. With another begin token set it to false, else
            padding before it is taken for one.
        tokenizer: `Tokenizer` or `SentencepieceTokenizer` of the vocabulary, for texts; `None` for
            ids alone.
        embeddings_initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy of all layers but those given, which have their own.
        **kwargs: `name`.

    Inputs: `dict` of `source`, `<int32>[B, S]`, and `target`, `<int32>[B, T]`, the tokens before
    those to predict, a begin token first. Output: `<float>[B, T, V]`, logits of the next token.
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
    >>> model = TransformerSeq2Seq(
    ...     100, 16, 2, Attention(num_heads=2), FeedForward(hidden_dim=32), moe
    ... )
    >>> source, target = keras.ops.ones((2, 5), "int32"), keras.ops.ones((2, 7), "int32")
    >>> tuple(model({"source": source, "target": target}).shape)
    (2, 7, 100)

    Reference: Raffel et al., "T5", JMLR 2020, arXiv 1910.10683; Fedus et al., "Switch
        Transformers", JMLR 2022, arXiv 2101.03961.
    """

    presets = TRANSFORMER_SEQ2SEQS

    def __init__(
        self,
        vocabulary_size: int | None,
        width: int,
        num_layers: int,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        moe: keras.layers.Layer | None = None,
        moe_every: int = 2,
        num_decoder_layers: int | None = None,
        decoder_moe_every: int | None = None,
        position: Positions | None = None,
        norm: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        tie_head: bool = True,
        share_embeddings: bool = True,
        max_length: int | None = None,
        pad_id: int = 0,
        begins_with_padding: bool = True,
        embeddings_initializer: str | keras.initializers.Initializer | None = None,
        dtype: Any = None,
        tokenizer: AnyTokenizer | None = None,
        **kwargs: Any,
    ):
        vocabulary_size = rows_of_embedding(vocabulary_size, tokenizer)
        policy = keras.dtype_policies.get(dtype)
        begins = check_bool("begins_with_padding", begins_with_padding)
        tie_head = check_bool("tie_head", tie_head)
        share_embeddings = check_bool("share_embeddings", share_embeddings)
        num_layers = check_int("num_layers", num_layers, least=1)
        moe_every = check_int("moe_every", moe_every, least=0)
        if num_decoder_layers is None:
            num_decoder_layers = num_layers
        num_decoder_layers = check_int("num_decoder_layers", num_decoder_layers, least=1)
        if decoder_moe_every is None:
            decoder_moe_every = moe_every
        decoder_moe_every = check_int("decoder_moe_every", decoder_moe_every, least=0)

        # === Layers ===
        draw = keras.initializers.get(embeddings_initializer)
        names = ["embedding"] if share_embeddings else ["embedding", "decoder_embedding"]
        tables = [
            token_embedding(vocabulary_size, width, initializer_like(draw, number), policy, name)
            for number, name in enumerate(names)
        ]
        embedding, decoder_embedding = tables[0], tables[-1]
        head = Head(decoder_embedding, tie_head, policy)
        source_mask = PaddingMask(pad_id, name="source_mask")
        target_mask = PaddingMask(pad_id, begins, name="target_mask")
        shared = {"norm": norm, "dropout": dropout, "max_length": max_length, "dtype": policy}
        layers = [attention, feed_forward, moe, position or RelativePositions()]
        encoder = _stack(layers, num_layers, moe_every, name="encoder", **shared)
        decoder = _stack(
            [layer and cloned(layer, num_layers, layer.name) for layer in layers],
            num_decoder_layers,
            decoder_moe_every,
            causal=True,
            cross_attention=True,
            name="decoder",
            **shared,
        )

        # === Functional Model ===
        source = keras.Input((None,), dtype="int32", name="source")
        target = keras.Input((None,), dtype="int32", name="target")
        token_mask = source_mask(source)
        memory = encoder(embedding(source), mask=token_mask)
        x = decoder_embedding(target)
        x = decoder(x, mask=target_mask(target), memory=memory, memory_mask=token_mask)
        inputs = {"source": source, "target": target}
        super().__init__(inputs=inputs, outputs=head(x), **kwargs)

        # === Config ===
        self.embedding, self.decoder_embedding = embedding, decoder_embedding
        self.encoder, self.decoder = encoder, decoder
        self.source_mask, self.target_mask = source_mask, target_mask
        self.logits, self.head = head, head.dense
        self.begins_with_padding = target_mask.keep_first
        self.vocabulary_size, self.width = embedding.input_dim, embedding.output_dim
        self.share_embeddings = share_embeddings
        self.max_length, self.pad_id = encoder.max_length, source_mask.pad_id
        self.dtype_policy = policy
        self.tokenizer = tokenizer

    def real_tokens(self, inputs: Any) -> tf.Tensor:
        return self.target_mask(keras.tree.flatten(inputs)[-1])  # "target" comes after "source"

    # === Published checkpoints ===

    @classmethod
    def from_huggingface(
        cls,
        folder: str | os.PathLike,
        router: Router | None = None,
        dtype: Any = None,
    ) -> Self:
        """Load a Switch Transformers checkpoint in Hugging Face's layout.

        The model routes by the published rule, `expert_capacity` slots for each expert in each row,
        and gives what `transformers` gives, in float32 up to the last digits.

        Args:
            folder: `str` or path of a folder with `config.json` and `model.safetensors`, or its
                shards and their index. If it holds `spiece.model`, that is the tokenizer, where
                tensorflow-text is installed.
            router: a router in place of the published rule, such as `SwitchRouter()`, for all
                tokens of a batch together; `None` routes as the original does.
            dtype: Keras dtype policy, such as `"mixed_bfloat16"`; `None` is the global one. Files
                of bfloat16 are float32 in memory, as all weights are.

        Raises:
            FileNotFoundError: If there are no such files, or those of torch alone; the error shows
                how to convert these.
            ValueError: If a file is damaged, the model is of another kind, config.json and tensors
                do not belong together (up to 50 tensors of each kind are listed), or it is
                `switch-xxl-128` or `switch-c-2048`, whose config.json contradicts their weights.

        Reference: Fedus et al., "Switch Transformers", JMLR 2022, arXiv 2101.03961.

        Differs from the original in: jitter in training, which there falls on the experts' input
        too, and the auxiliary losses, one for each layer in place of one for each stack.
        """
        return load_model(cls, folder, router, dtype)

    def save_huggingface(
        self,
        folder: str | os.PathLike,
        dtype: str = "float32",
        max_file_size: int = 5_000_000_000,
        expert_capacity: int | None = None,
    ) -> None:
        """Write a Switch Transformers checkpoint in Hugging Face's layout.

        `config.json`, `generation_config.json` and `model.safetensors`, or shards of it with an
        index, and the tokenizer as `spiece.model`. The folder appears when it is complete; in the
        place of an earlier checkpoint it keeps what else is there.

        Args:
            folder: `str` or path of the folder to write.
            dtype: `str`, `"float32"`, `"bfloat16"` or `"float16"`, of the tensors.
            max_file_size: `int`, bytes of tensors in a file.
            expert_capacity: `int`, slots of an expert in each row by which the original is to route
                a model that routes by another rule here; `None` refuses such a model.

        Raises:
            ValueError: If the model has another form than the published ones (what differs is
                listed), is quantized or has a `Tokenizer`, the dtype is another one, a size is not
                positive, or the folder holds something else than a checkpoint.

        Warns:
            UserWarning: If there are several rates of dropout, of which one is kept.
        """
        save_model(self, folder, dtype, max_file_size, expert_capacity)

    # === Generation ===

    def initial_states(self, source: tf.Tensor, length: int | tf.Tensor) -> Any:
        """Encode the source and return the states before the first token of a target.

        Args:
            source: `<int32>[B, S]`.
            length: `int` or `<int32>[]`, the most tokens that a target will be fed.

        Returns:
            A nest of tensors whose first axis is the batch.

        Raises:
            ValueError: If a source is padding alone; in a graph `tf.errors.InvalidArgumentError`.
        """
        token_mask = self.source_mask(source)
        token_mask = checked(
            token_mask,
            keras.ops.all(keras.ops.any(token_mask, axis=1)),
            f"Expected at least one token in each source. Received: one of padding ({self.pad_id}) "
            "alone",
            (),
            "End each source by the end token.",
        )
        memory = self.encoder(self.embedding(source), mask=token_mask)
        batch = keras.ops.shape(source)[0]
        return self.decoder.initial_cache(batch, length, memory, token_mask)

    def step(self, tokens: tf.Tensor, states: Any, place: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Return the logits of what follows a token of a target, and the next states.

        Args:
            tokens: `<int32>[B]`.
            states: as `initial_states` or the last step returned them.
            place: `<int32>[]`, the token's place in its row, from 0.

        Returns:
            `(<float32>[B, V] logits, states)`.
        """
        token_mask = self.target_mask.at(tokens, place)
        x, states = self.decoder.step(self.decoder_embedding(tokens), states, place, token_mask)
        return keras.ops.cast(self.logits(x), "float32"), states

    def get_config(self) -> dict:
        return {
            **self.config_with(self.encoder),
            "num_decoder_layers": len(self.decoder.blocks),
            "decoder_moe_every": self.decoder.moe_every,
            "tie_head": self.head is None,
            "share_embeddings": self.share_embeddings,
            "begins_with_padding": self.begins_with_padding,
        }


def _stack(layers: list, num_layers: int, moe_every: int, **options: Any) -> TransformerStack:
    attention, feed_forward, moe, position = layers
    return TransformerStack(
        attention, feed_forward, num_layers, moe, moe_every, position, **options
    )
