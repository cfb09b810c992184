"""The encoder-decoder Transformer with mixtures of experts, as T5 and Switch Transformers."""

import keras

from moe_zoo.layers.clones import cloned
from moe_zoo.models.checks import checked
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.head import Head
from moe_zoo.models.transformer.initializers import initializer_like
from moe_zoo.models.transformer.model import TransformerModel
from moe_zoo.models.transformer.padding_mask import PaddingMask
from moe_zoo.models.transformer.presets import TRANSFORMER_SEQ2SEQS
from moe_zoo.models.transformer.relative_positions import RelativePositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.validation import check_bool, check_int

from .padded_targets import PaddedTargets


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerSeq2Seq(PaddedTargets, TransformerModel):
    """Encoder of a source text, decoder of a target text, logits of its next token.

    Args:
        vocabulary_size: `int`, V.
        width: `int`, D.
        num_layers: `int`, blocks of the encoder.
        num_decoder_layers: `int` or `None`, blocks of the decoder; `None` is as many.
        attention: `Attention`, of which each block gets a copy; so of all layers given.
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
        pad_id: `int`, the token that fills rows up, before, between or behind the others: as if it
            were not there. At padding the logits are those of the last token before it. Padding
            between two tokens of a source is masked, but counts in their distance, as in T5.
        begins_with_padding: `bool`, targets begin with `pad_id`, as T5's do: the first token of a
            target is then real whatever it is. With another begin token set it to false, else
            padding before it is taken for one.
        embeddings_initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy of all layers but those given, which have their own.
        **kwargs: `name`.

    Inputs: `dict` of `source`, `<int32>[B, S]`, and `target`, `<int32>[B, T]`, the tokens before
    those to predict, a begin token first. Output: `<float>[B, T, V]`, logits of the next token.
    Compiled losses and metrics leave out positions whose target is padding; see `PaddedTargets`.

    Raises:
        ValueError: a size that is not positive, rows longer than `max_length`, or a router that
            looks ahead.

    Warns:
        UserWarning: a router with `batch_priority`.

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
        vocabulary_size,
        width,
        num_layers,
        attention,
        feed_forward,
        moe=None,
        moe_every=2,
        num_decoder_layers=None,
        decoder_moe_every=None,
        position=None,
        norm=None,
        dropout=0.0,
        tie_head=True,
        share_embeddings=True,
        max_length=None,
        pad_id=0,
        begins_with_padding=True,
        embeddings_initializer=None,
        dtype=None,
        **kwargs,
    ):
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
        layers = [layer and cloned(layer, num_layers, layer.name) for layer in layers]
        decoder = _stack(
            layers,
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
        real = source_mask(source)
        memory = encoder(embedding(source), mask=real)
        x = decoder_embedding(target)
        x = decoder(x, mask=target_mask(target), memory=memory, memory_mask=real)
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

    def real_tokens(self, inputs):
        return self.target_mask(keras.tree.flatten(inputs)[-1])  # "target" comes after "source"

    def initial_states(self, source, length):
        """States before the first token of a target: the source is encoded.

        Args:
            source: `<int32>[B, S]`.
            length: `int` or `<int32>[]`, the most tokens that a target will be fed.

        Returns:
            A nest of tensors whose first axis is the batch.

        Raises:
            ValueError: If a source is padding alone; in a graph `tf.errors.InvalidArgumentError`.
        """
        real = self.source_mask(source)
        real = checked(
            real,
            keras.ops.all(keras.ops.any(real, axis=1)),
            f"Expected at least one token in each source. Received: one of padding ({self.pad_id}) "
            "alone",
            (),
            "End each source by the end token.",
        )
        memory = self.encoder(self.embedding(source), mask=real)
        batch = keras.ops.shape(source)[0]
        return self.decoder.initial_cache(batch, length, memory, real)

    def step(self, tokens, states, place):
        """One token of a target further.

        Args:
            tokens: `<int32>[B]`.
            states: as `initial_states` or the last step gave them.
            place: `<int32>[]`, the token's place in its row, from 0.

        Returns:
            `(<float32>[B, V] logits, states)`.
        """
        real = self.target_mask.at(tokens, place)
        x, states = self.decoder.step(self.decoder_embedding(tokens), states, place, real)
        return keras.ops.cast(self.logits(x), "float32"), states

    def get_config(self):
        return {
            **self.config_with(self.encoder),
            "num_decoder_layers": len(self.decoder.blocks),
            "decoder_moe_every": self.decoder.moe_every,
            "tie_head": self.head is None,
            "share_embeddings": self.share_embeddings,
            "begins_with_padding": self.begins_with_padding,
        }


def _stack(layers, num_layers, moe_every, **options):
    attention, feed_forward, moe, position = layers
    return TransformerStack(
        attention, feed_forward, num_layers, moe, moe_every, position, **options
    )
