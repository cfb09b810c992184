"""The Transformer encoder with mixtures of experts that classifies texts."""

import keras

from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.model import TransformerModel
from moe_zoo.models.transformer.padding_mask import PaddingMask
from moe_zoo.models.transformer.presets import TRANSFORMER_CLASSIFIERS
from moe_zoo.models.transformer.rotary_positions import RotaryPositions
from moe_zoo.models.transformer.stack import TransformerStack
from moe_zoo.models.transformer.token_mean import TokenMean
from moe_zoo.validation import check_int


@keras.saving.register_keras_serializable(package="moe_zoo")
class TransformerClassifier(TransformerModel):
    """Embedding, Transformer encoder, mean over the real tokens, logits of classes.

    Args:
        vocabulary_size: `int`, V.
        num_classes: `int`.
        width: `int`, D.
        num_layers: `int`, blocks.
        attention: `Attention`, of which each block gets a copy; so of all layers given.
        feed_forward: `FeedForward`, `GatedFeedForward` or another layer of the same width.
        moe: `MoE`, or any layer for the sparse blocks; `None` for none.
        moe_every: `int`; 0 is none, 1 is every block, 2 every other one, from the second.
        position: `RotaryPositions`, which `None` is, or `RelativePositions`.
        norm: Keras layer; `None` is RMS normalization.
        dropout: `float`, rate on the embedding, after each sub-layer and after the final norm.
        max_length: `int` or `None`, the most tokens of a row.
        pad_id: `int`, the token that fills rows up, before or behind the others: as if it were not
            there. Between two others it is masked, but counts in their distance.
        embeddings_initializer: Keras initializer; `None` is N(0, 1), as T5 has it.
        dtype: Keras dtype policy of all layers but those given, which have their own.
        **kwargs: `name`.

    Input: `<int32>[B, T]`, token ids. Output: `<float>[B, classes]`, logits.

    Raises:
        ValueError: a size that is not positive, or rows longer than `max_length`.

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
        vocabulary_size,
        num_classes,
        width,
        num_layers,
        attention,
        feed_forward,
        moe=None,
        moe_every=2,
        position=None,
        norm=None,
        dropout=0.0,
        max_length=None,
        pad_id=0,
        embeddings_initializer=None,
        dtype=None,
        **kwargs,
    ):
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
        real = padding_mask(tokens)
        x = encoder(embedding(tokens), mask=real)
        super().__init__(inputs=tokens, outputs=head(mean(x, real=real)), **kwargs)

        # === Config ===
        self.embedding, self.encoder, self.head = embedding, encoder, head
        self.vocabulary_size, self.width = embedding.input_dim, embedding.output_dim
        self.num_classes = head.units
        self.max_length, self.pad_id = encoder.max_length, padding_mask.pad_id
        self.dtype_policy = policy

    def get_config(self):
        return {**self.config_with(self.encoder), "num_classes": self.num_classes}
