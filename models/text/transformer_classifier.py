"""The Transformer encoder with mixtures of experts that classifies texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from moe_zoo.export import endpoint
from moe_zoo.models.decoding.generation import to_dense
from moe_zoo.models.decoding.prompts import ragged_prompts
from moe_zoo.models.transformer.attention import Attention
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.padding import PaddingMask, TokenMean
from moe_zoo.models.transformer.positions import Positions
from moe_zoo.models.transformer.presets import TRANSFORMER_CLASSIFIERS
from moe_zoo.models.transformer.rotary_positions import RotaryPositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.validation import check_int, shown

from .text_model import AnyTokenizer, named, require_tokenizer, rows_of_embedding, texts_in
from .transformer_model import TransformerModel


class Classified(NamedTuple):
    """What a classifier says of a text.

    Fields:
        label: `str`, name of the most probable class, or `int`, its index, without `labels`.
        score: `float`, its probability.
        probabilities: tuple of `float`, those of all classes.
    """

    label: str | int
    score: float
    probabilities: tuple[float, ...]


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerClassifier(TransformerModel):
    """Embedding, Transformer encoder, mean over the real tokens, logits of classes.

    Args:
        vocabulary_size: `int` or `None`, V; `None` is the tokenizer's.
        num_classes: `int`.
        width: `int`, D.
        num_layers: `int`, blocks.
        attention: `Attention`; each block gets a copy of it, as of all layers given.
        feed_forward: `FeedForward`, `GatedFeedForward` or another layer of the same width.
        moe: `MoE`, or any layer for the sparse blocks; `None` for none.
        moe_every: `int`; 0 is none, 1 is every block, 2 every other one, from the second.
        position: `RotaryPositions`, which `None` is, or `RelativePositions`.
        norm: Keras layer; `None` is RMS normalization.
        dropout: `float`, rate on the embedding, after each sub-layer and after the final norm.
        max_length: `int` or `None`, the most tokens of a row.
        pad_id: `int`, the id of padding, which may stand before or after tokens and changes
            nothing. Between two tokens it is masked, but counts in their distance.
        tokenizer: `Tokenizer` or `SentencepieceTokenizer` of the vocabulary, for texts; `None` for
            ids alone.
        labels: list of `str`, names of the classes; `None` for indices.
        max_tokens: `int` or `None`, tokens of a text that `classify` reads at most; `None` is
            `max_length`.
        embeddings_initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy of all layers but those given, which have their own.
        **kwargs: `name`.

    Input: `<int32>[B, T]`, token ids. Output: `<float>[B, classes]`, logits.

    Raises:
        ValueError: If a size is not positive, or rows are longer than `max_length`.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.models.transformer import Attention, FeedForward
    >>> from moe_zoo.routers import SwitchRouter
    >>> moe = MoE(SwitchRouter(), FeedForwardExperts(num_experts=4, hidden_dim=32))
    >>> model = TransformerClassifier(
    ...     100, 3, 16, 2, Attention(num_heads=2), FeedForward(hidden_dim=32), moe
    ... )
    >>> tuple(model(keras.ops.ones((2, 7), "int32")).shape)
    (2, 3)

    Reference: Vaswani et al., 2017, arXiv 1706.03762; Fedus et al., "Switch Transformers", JMLR
        2022, arXiv 2101.03961.
    """

    presets = TRANSFORMER_CLASSIFIERS

    def __init__(
        self,
        vocabulary_size: int | None,
        num_classes: int,
        width: int,
        num_layers: int,
        attention: Attention,
        feed_forward: keras.layers.Layer,
        moe: keras.layers.Layer | None = None,
        moe_every: int = 2,
        position: Positions | None = None,
        norm: keras.layers.Layer | None = None,
        dropout: float = 0.0,
        max_length: int | None = None,
        pad_id: int = 0,
        embeddings_initializer: str | keras.initializers.Initializer | None = None,
        dtype: Any = None,
        tokenizer: AnyTokenizer | None = None,
        labels: Sequence[str] | None = None,
        max_tokens: int | None = None,
        **kwargs: Any,
    ):
        vocabulary_size = rows_of_embedding(vocabulary_size, tokenizer)
        policy = keras.dtype_policies.get(dtype)

        # === Layers ===
        embedding = token_embedding(vocabulary_size, width, embeddings_initializer, policy)
        padding_mask = PaddingMask(pad_id, name="padding_mask")
        mean = TokenMean(dtype=policy, name="mean")
        head = keras.layers.Dense(
            check_int("num_classes", num_classes, least=1), dtype=policy, name="head"
        )
        encoder = TransformerStack(
            attention,
            feed_forward,
            num_layers,
            moe,
            moe_every,
            RotaryPositions() if position is None else position,
            norm,
            dropout=dropout,
            max_length=max_length,
            dtype=policy,
            name="encoder",
        )

        # === Functional Model ===
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        token_mask = padding_mask(tokens)
        x = encoder(embedding(tokens), mask=token_mask)
        super().__init__(inputs=tokens, outputs=head(mean(x, token_mask=token_mask)), **kwargs)

        # === Config ===
        self.embedding, self.encoder, self.head = embedding, encoder, head
        self.vocabulary_size, self.width = embedding.input_dim, embedding.output_dim
        self.num_classes = head.units
        self.max_length, self.pad_id = encoder.max_length, padding_mask.pad_id
        self.dtype_policy = policy
        self.tokenizer, self.labels = tokenizer, labels
        self.max_tokens = max_tokens and check_int("max_tokens", max_tokens, least=1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "labels":
            self.__dict__[name] = None if value is None else self._checked_labels(value)
            self.__dict__.pop("_kept_functions", None)
        else:
            super().__setattr__(name, value)

    def classify(self, texts: Any) -> Classified | list[Classified]:
        """Return the most probable class of texts and its score.

        Args:
            texts: `str`, a list or tensor of strings, or ids `<int>[B, (tokens)]`, ragged, dense or
                as lists, with padding anywhere. Texts need a `tokenizer`.

        Returns:
            `Classified` for a `str`, else a list of these.

        Raises:
            ValueError: If texts are given to a model without a tokenizer.
        """
        strings, single = texts_in(texts)
        if strings is None:
            ids = ragged_prompts(texts, self.pad_id).to_tensor(self.pad_id)
        else:
            ids = self._encoded(strings)
        classes = self.traced(self._make_classify)(ids)
        columns = [classes[name].numpy().tolist() for name in ("label", "score", "probabilities")]
        if self.labels is not None:
            columns[0] = [label.decode() for label in columns[0]]
        rows = [Classified(x, y, tuple(z)) for x, y, z in zip(*columns, strict=True)]
        return rows[0] if single else rows

    def endpoints(self) -> dict[str, tf.function]:
        """Return the functions that a SavedModel of this model offers, by name.

            serve(tokens <int32>[B, T]) -> <float32>[B, C], logits of the classes.
            classify(texts <string>[B]) -> `label`, the most probable class of each text:
                <string>[B] with `labels`, else <int32>[B], its index; `score` <float32>[B], its
                probability; `probabilities` <float32>[B, C].
            classify_ids(tokens <int32>[B, T]) -> the same of ids.

        `classify` needs a `tokenizer`.
        """
        classify_ids = self._make_classify()

        def serve(tokens: tf.Tensor) -> tf.Tensor:
            """Return the logits of the classes: `<float32>[B, C]`."""
            return tf.cast(self(tokens), tf.float32)

        def classify(texts: tf.Tensor) -> dict[str, tf.Tensor]:
            """Return `label`, `score` and `probabilities` of each text."""
            return classify_ids(self._encoded(texts))

        endpoints = {"serve": endpoint(self, serve, named("tokens", tf.int32, 2))}
        if self.tokenizer is not None:
            endpoints["classify"] = endpoint(self, classify, named("texts", tf.string, 1))
        return {**endpoints, "classify_ids": classify_ids}

    def _make_classify(self) -> tf.function:
        """Return the function of ids that classifies them."""

        def classify_ids(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
            """Return `label`, `score` and `probabilities` of each row of ids."""
            logits = tf.cast(self(tokens), tf.float32)
            index = tf.math.top_k(logits, 1).indices[:, 0]
            probabilities = tf.nn.softmax(logits)
            score = tf.gather(probabilities, index, batch_dims=1)
            label = index if self.labels is None else tf.gather(tf.constant(self.labels), index)
            return {"label": label, "score": score, "probabilities": probabilities}

        return endpoint(self, classify_ids, named("tokens", tf.int32, 2))

    def _encoded(self, texts: tf.Tensor) -> tf.Tensor:
        tokenizer = require_tokenizer(self)
        ids = tokenizer.encode(texts)[:, : self.max_tokens or self.max_length]
        return to_dense(ids, least=1, fill=tokenizer.pad_id)

    def _checked_labels(self, labels: Sequence[str]) -> list[str]:
        if len(labels) != self.num_classes:
            raise ValueError(
                f"Expected {self.num_classes} labels, one for each class. Received: "
                f"labels={shown(labels)}. Give them in the order of the classes."
            )
        return list(map(str, labels))

    def get_config(self) -> dict:
        return {
            **self.config_with(self.encoder),
            "num_classes": self.num_classes,
            "labels": self.labels,
            "max_tokens": self.max_tokens,
        }
