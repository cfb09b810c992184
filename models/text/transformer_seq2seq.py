"""The encoder-decoder Transformer with mixtures of experts, as T5 and Switch Transformers."""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.clones import cloned, initializer_like
from moe_zoo.export import endpoint
from moe_zoo.models.checks import check_options, checked
from moe_zoo.models.decoding.decode import OPTION_SPECS, OPTIONS, decode
from moe_zoo.models.decoding.generation import to_dense
from moe_zoo.models.decoding.prompts import ragged_prompts
from moe_zoo.models.published.loading import load_model
from moe_zoo.models.published.saving import save_model
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.head import Head
from moe_zoo.models.transformer.padding_mask import PaddingMask
from moe_zoo.models.transformer.presets import TRANSFORMER_SEQ2SEQS
from moe_zoo.models.transformer.relative_positions import RelativePositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.routers import Router
from moe_zoo.validation import check_bool, check_int

from .language_model import END_SPEC, NO_END
from .padded_targets import PaddedTargets
from .text_model import named, require_tokenizer, rows_of_embedding, strings, texts_in
from .transformer_model import TransformerModel

BEGIN_SPEC = named("begin_id", tf.int32, 0)


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerSeq2Seq(PaddedTargets, TransformerModel):
    """Encoder of a source text, decoder of a target text, logits of its next token.

    Args:
        vocabulary_size: `int` or `None`, V; `None` is the tokenizer's.
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
        tokenizer: `Tokenizer` or `SentencepieceTokenizer` of the vocabulary, for texts; `None` for
            ids alone.
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
        tokenizer=None,
        **kwargs,
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
        self.tokenizer = tokenizer

    def real_tokens(self, inputs):
        return self.target_mask(keras.tree.flatten(inputs)[-1])  # "target" comes after "source"

    # === Published checkpoints ===

    @classmethod
    def from_huggingface(
        cls,
        folder: str | os.PathLike,
        router: Router | None = None,
        dtype: Any = None,
    ) -> TransformerSeq2Seq:
        """Load a Switch Transformers checkpoint in Hugging Face's layout.

        The model routes by the published rule, `expert_capacity` slots for each expert in each row,
        and gives what `transformers` gives, in float32 up to the last digits.

        Args:
            folder: `str` or path of a folder with `config.json` and `model.safetensors`, or its
                shards and their index. If it holds `spiece.model`, that is the tokenizer.
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

    # === Translation ===

    def translate(
        self,
        texts: Any,
        max_new_tokens: int = 128,
        num_beams: int = 1,
        length_penalty: float = 0.6,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        begin_id: int | None = None,
        end_id: int | None = None,
    ) -> str | list[str] | tf.RaggedTensor:
        """Write the target texts of source texts.

        Mixtures of experts drop no token, as in a SavedModel, so that a text does not depend on the
        other ones.

        Args:
            texts: `str`, a list or tensor of strings, or ids `<int>[B, (tokens)]`, ragged, dense or
                as lists, with the end token and with padding anywhere. Texts need a `tokenizer`.
            max_new_tokens: `int`, the most tokens of a target.
            num_beams: `int`; 1 is greedy, from 2 on search for the most probable text.
            length_penalty: `float`, of beam search: the larger, the longer the texts; 0 for none.
            temperature: `float`; above 0 draw tokens from logits that are divided by it.
            top_k: `int`, draw from the most probable K tokens; 0 draws from all.
            top_p: `float`, draw from the most probable tokens that have this probability together;
                1 draws from all.
            seed: `int`, of the draws.
            begin_id: `int`, the token that begins a target; `None` is the tokenizer's, or `pad_id`
                without a tokenizer.
            end_id: `int`, the token that ends a text; `None` is the tokenizer's, or none at all
                without a tokenizer.

        Returns:
            A `str` for a `str`, a list of `str` for strings, `<int32>[B, (tokens)]`, ragged and
            without begin and end token, for ids.

        Raises:
            ValueError: If an option is out of its limits, a source has no token, or texts are given
                to a model without a tokenizer.
        """
        options = check_options(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            num_beams=num_beams,
            length_penalty=length_penalty,
        )
        begin, end = self._ends()
        begin = begin if begin_id is None else begin_id
        end = end if end_id is None else end_id
        sources, single = texts_in(texts)
        if sources is None:
            ids = ragged_prompts(texts, self.pad_id).to_tensor(self.pad_id)
        else:
            ids = self._ended(sources)
        written = self.traced(self._make_write)(ids, begin, end, *options.values())
        return (
            written if sources is None else strings(require_tokenizer(self).decode(written), single)
        )

    def endpoints(self):
        """Return the functions that a SavedModel of this model offers, by name.

            serve(source <int32>[B, S], target <int32>[B, T]) -> <float32>[B, T, V], logits of what
                follows each token of the target, which begins with the begin token.
            translate(texts <string>[B], max_new_tokens=128, num_beams=1, length_penalty=0.6,
                temperature=0.0, top_k=0, top_p=1.0, seed=0) -> <string>[B].
            translate_ids(source <int32>[B, S], ..., begin_id=..., end_id=...) -> <int32>[B, T],
                padded, without begin and end tokens. A source ends with the end token.

        `translate` needs a `tokenizer`.
        """
        begin, end = self._ends()
        write = self._make_write()

        def serve(source, target):
            """Return the logits of what follows each token of the target: `<float32>[B, T, V]`."""
            return tf.cast(self({"source": source, "target": target}), tf.float32)

        def translate(
            texts,
            max_new_tokens=128,
            num_beams=1,
            length_penalty=0.6,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            seed=0,
        ):
            """Return the target texts of source texts: greedy, by draws or by beam search."""
            options = max_new_tokens, temperature, top_k, top_p, seed, num_beams, length_penalty
            return require_tokenizer(self).decode(write(self._ended(texts), begin, end, *options))

        def translate_ids(
            source,
            max_new_tokens=128,
            num_beams=1,
            length_penalty=0.6,
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            seed=0,
            begin_id=begin,
            end_id=end,
        ):
            """Return the target ids of source ids that end with the end token, padded."""
            options = max_new_tokens, temperature, top_k, top_p, seed, num_beams, length_penalty
            written = write(source, begin_id, end_id, *options)
            return to_dense(written, least=0, fill=self.pad_id)

        source, target = named("source", tf.int32, 2), named("target", tf.int32, 2)
        specs = {spec.name: spec for spec in OPTION_SPECS}
        order = ("max_new_tokens", "num_beams", "length_penalty")
        options = [*map(specs.pop, order), *specs.values()]
        endpoints = {"serve": endpoint(self, serve, source, target)}
        if self.tokenizer is not None:
            texts = named("texts", tf.string, 1)
            endpoints["translate"] = endpoint(self, translate, texts, *options)
        ends = [BEGIN_SPEC, END_SPEC]
        endpoints["translate_ids"] = endpoint(self, translate_ids, source, *options, *ends)
        return endpoints

    def _make_write(self):
        """Return the function of source ids, begin, end and options that writes target ids."""
        never = [self.pad_id]
        if self.tokenizer is not None:
            never = [self.tokenizer.pad_id, self.tokenizer.unknown_id]

        def write(source, begin_id, end_id, *values):
            options = dict(zip(OPTIONS, values, strict=True))
            begin = tf.fill([tf.shape(source)[0], 1], begin_id)
            length = tf.maximum(options["max_new_tokens"], 1)  # the last token is not fed
            tokens = decode(
                self.step,
                self.initial_states(source, length),
                tf.RaggedTensor.from_tensor(begin),
                options,
                end=end_id,
                never=never,
            )
            return tokens[:, 1:]

        source = named("source", tf.int32, 2)
        return endpoint(self, write, source, BEGIN_SPEC, END_SPEC, *OPTION_SPECS)

    def _ended(self, texts):
        """Return the ids of texts before an end token: `<int32>[B, S]`, padded."""
        tokenizer = require_tokenizer(self)
        end = tf.fill([tf.shape(texts)[0], 1], tokenizer.end_id)
        ids = tf.concat([tokenizer.encode(texts), end], 1)
        return to_dense(ids, least=1, fill=tokenizer.pad_id)

    def _ends(self):
        """Return the ids of the tokens that begin and end a text."""
        if self.tokenizer is None:
            return self.pad_id, NO_END
        return self.tokenizer.begin_id, self.tokenizer.end_id

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
