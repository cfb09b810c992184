"""The LSTM language model with a mixture of experts between its LSTMs."""

import inspect
from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.models.presets import LSTM_LANGUAGE_MODELS, find_preset
from moe_zoo.models.transformer.embedding import token_embedding
from moe_zoo.models.transformer.padding import PaddingMask, RepeatLast
from moe_zoo.parts import take_parts
from moe_zoo.quantizing import quantize_as, quantized_config
from moe_zoo.routers import Router
from moe_zoo.validation import check_bool, check_int, check_rate, shown

from .language_model import LanguageModel
from .lstm_blocks import dense_block, mixture_block
from .padded_targets import PaddedTargets
from .text_model import AnyTokenizer, TextModel, revived_tokenizer, rows_of_embedding


@keras.saving.register_keras_serializable(package="moe_zoo")
class LSTMLanguageModel(LanguageModel, TextModel, PaddedTargets):
    """Embedding, LSTM, middle blocks, LSTM, softmax: the sparsely-gated MoE paper's language model.

    After every layer but the softmax: dropout, then the layer's input is added. The middle is a
    mixture of experts, applied to all time steps at once and passed through a sigmoid, or whatever
    layer it is to be compared with.

    Args:
        vocabulary_size: `int` or `None`, V; `None` is the tokenizer's.
        width: `int`, D, of the embedding and of both LSTMs.
        middle: list of Keras layers `[B, T, D] -> [B, T, D]`, recurrent ones or such that see one
            token at a time; `mixture_block` makes the paper's.
        dropout: `float`, rate after every layer but the softmax.
        use_bias: `bool`, biases in the LSTMs and the softmax.
        sequence_length: `int`, T, over which the LSTMs are unrolled, as a mesh of devices needs it;
            `None` takes any length, by a loop.
        pad_id: `int` or `None`, the id of padding, which may stand before, between or after tokens
            and changes nothing; at padding the logits are those of the last token before it. `None`
            where every id is a token.
        tokenizer: `Tokenizer` or `SentencepieceTokenizer` of the vocabulary, for texts; `None` for
            ids alone.
        dtype: Keras dtype policy of all layers but the middle, which have their own.
        **kwargs: `name`.

    Input: `<int32>[B, T]`, token ids. Output: `<float>[B, T, V]`, logits of the next token.
    With a `pad_id` compiled losses leave out positions whose target is padding; see
    `PaddedTargets`.

    Raises:
        ValueError: If a size is not positive, or a middle layer belongs to another model.

    Example:

    >>> model = LSTMLanguageModel(100, 16, [mixture_block(num_experts=4, hidden_dim=32, top_k=2)])
    >>> tuple(model(keras.ops.ones((2, 7), "int32")).shape)
    (2, 7, 100)

    Reference: Shazeer et al., ICLR 2017, arXiv 1701.06538, appendix C.

    Differs from the paper in: the full softmax in place of the sampled one.
    """

    presets = LSTM_LANGUAGE_MODELS
    begins_with_padding = False

    def __init__(
        self,
        vocabulary_size: int | None,
        width: int,
        middle: list[keras.layers.Layer],
        dropout: float = 0.1,
        use_bias: bool = True,
        sequence_length: int | None = None,
        dtype: Any = None,
        pad_id: int | None = None,
        tokenizer: AnyTokenizer | None = None,
        **kwargs: Any,
    ):
        vocabulary_size = rows_of_embedding(vocabulary_size, tokenizer)
        vocabulary_size = check_int("vocabulary_size", vocabulary_size, least=2)
        width = check_int("width", width, least=1)
        dropout, use_bias = check_rate("dropout", dropout), check_bool("use_bias", use_bias)
        if sequence_length is not None:
            sequence_length = check_int("sequence_length", sequence_length, least=1)
        policy = keras.dtype_policies.get(dtype)

        # === Layers ===
        embedding = token_embedding(vocabulary_size, width, "uniform", policy)
        first, last = (_lstm(width, use_bias, policy, name) for name in ("lstm_in", "lstm_out"))
        blocks = [first, *middle, last]
        for block in blocks:
            if isinstance(block, keras.layers.RNN):
                block.unroll = sequence_length is not None
            elif pad_id is not None:
                block.supports_masking = True  # else Keras warns of the mask that it is given
        logits = keras.layers.Dense(vocabulary_size, use_bias=use_bias, dtype=policy, name="logits")
        padding_mask = None if pad_id is None else PaddingMask(pad_id, name="padding_mask")

        # === Functional Model ===
        tokens = keras.Input((sequence_length,), dtype="int32", name="tokens")
        x = keras.layers.Dropout(dropout, dtype=policy)(embedding(tokens))
        token_mask = None if padding_mask is None else padding_mask(tokens)
        for block in blocks:
            y = keras.layers.Dropout(dropout, dtype=policy)(
                block(x, **_mask_for(block, token_mask))
            )
            x = keras.layers.Add(dtype=policy)([x, y])
        if token_mask is not None:
            x = RepeatLast(dtype=policy, name="repeat_last")(x, token_mask=token_mask)
        super().__init__(inputs=tokens, outputs=logits(x), **kwargs)

        # === Config ===
        self.embedding, self.blocks, self.logits = embedding, blocks, logits
        self.vocabulary_size, self.width = vocabulary_size, width
        self.middle, self.dropout, self.use_bias = middle, dropout, use_bias
        self.sequence_length, self.padding_mask = sequence_length, padding_mask
        self.pad_id = None if padding_mask is None else padding_mask.pad_id
        self.dtype_policy = policy
        self.tokenizer = tokenizer
        take_parts(self, **{f"middle[{i}]": layer for i, layer in enumerate(middle)})

    @classmethod
    def from_sizes(
        cls,
        preset: str,
        vocabulary_size: int | None = None,
        router: Router | None = None,
        num_experts: int | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Make a new model of the sizes that `moe_zoo.models.presets` lists.

        Args:
            preset: `str`, the name of the sizes.
            vocabulary_size: `int` or `None`; `None` is the `tokenizer`'s.
            router: a router in place of the preset's noisy top-k.
            num_experts: `int` in place of the preset's.
            dtype: Keras dtype policy of all layers; a router computes in float32 under each.
            **kwargs: further arguments of the constructor, such as `name` and `tokenizer`, in place
                of the preset's.

        Raises:
            ValueError: If the preset is unknown (the nearest names are given), or a router is given
                for a model without mixture.
        """
        sizes = find_preset(LSTM_LANGUAGE_MODELS, preset)["sizes"]
        width, use_bias = sizes["width"], sizes["use_bias"]
        block = {"use_bias": use_bias, "activation": sizes.get("activation"), "dtype": dtype}
        if "mixture" in sizes:
            mixture = dict(sizes["mixture"])
            if num_experts is not None:
                mixture["num_experts"] = num_experts
            middle = [mixture_block(**mixture, router=router, **block)]
        elif router is not None or num_experts is not None:
            raise ValueError(
                f"Expected a preset with a mixture of experts. Received: preset={shown(preset)}, "
                f"router={shown(router)}, num_experts={num_experts}. Leave router and num_experts "
                "out for a dense baseline."
            )
        elif "dense" in sizes:
            middle = [dense_block(sizes["dense"], width, **block)]
        else:
            count = sizes["lstm_layers"]
            middle = [_lstm(width, use_bias, dtype, f"lstm_{i}") for i in range(count)]
        return cls(
            vocabulary_size, width, middle, **{"use_bias": use_bias, "dtype": dtype, **kwargs}
        )

    def real_tokens(self, inputs: Any) -> tf.Tensor | None:
        return None if self.padding_mask is None else self.padding_mask(inputs)

    def initial_states(self, batch_size: int | tf.Tensor, length: int | tf.Tensor) -> Any:
        """Return the states of all recurrent layers before the first token.

        Args:
            batch_size: `int` or `<int32>[]`, B.
            length: `int` or `<int32>[]`, the most tokens that a row will be fed; the states do not
                grow with it.

        Returns:
            A list of `<float>[B, D]` for each, two of an LSTM; and with a `pad_id` one more tensor,
            the output of the last real token.

        Raises:
            ValueError: If a middle block holds a recurrent layer, whose state is out of reach.
        """
        states: list[Any] = []
        for block in self.blocks:
            if isinstance(block, keras.layers.RNN):
                states.append(block.cell.get_initial_state(batch_size))
                continue
            for layer in block._flatten_layers():
                if isinstance(layer, keras.layers.RNN):
                    raise ValueError(
                        "Expected recurrent layers that are middle blocks themselves. Received: "
                        f"{shown(layer.name)} in the middle block {shown(block.name)}, whose state "
                        "would be lost from token to token. Give the layer itself in `middle`."
                    )
        if self.pad_id is not None:
            states.append(tf.zeros([batch_size, self.width], self.dtype_policy.compute_dtype))
        return states

    def for_any_length(self) -> Self:
        """Return this model with LSTMs that take any length, and with copies of its weights."""
        model = self.from_config({**self.get_config(), "sequence_length": None})
        model.set_weights(self.get_weights())
        return model

    def step(self, tokens: tf.Tensor, states: list, place: tf.Tensor) -> tuple[tf.Tensor, list]:
        """Return the logits of what follows a token, and the next states.

        Padding leaves the states as they are.

        Args:
            tokens: `<int32>[B]`.
            states: as `initial_states` or the last step returned them.
            place: `<int32>[]`, the token's place in its row, which is not needed here.

        Returns:
            `(<float32>[B, V] logits, states)`.
        """
        x, token_mask = self.embedding(tokens), None
        if self.padding_mask is not None:
            token_mask = tf.expand_dims(self.padding_mask.at(tokens, place), 1)
        remaining, following = iter(states), []
        for block in self.blocks:
            if isinstance(block, keras.layers.RNN):
                state = next(remaining)
                output, new = block.cell(x, state, training=False)
                following.append(_kept(token_mask, new, state))
            else:
                y = block(keras.ops.expand_dims(x, 1), **_mask_for(block, token_mask))
                output = keras.ops.squeeze(y, 1)
            x = x + output
        if token_mask is not None:
            x = tf.where(token_mask, x, next(remaining))
            following.append(x)
        return keras.ops.cast(self.logits(x), "float32"), following

    def get_config(self) -> dict:
        return {
            **self.text_config(),
            "width": self.width,
            "middle": [keras.saving.serialize_keras_object(layer) for layer in self.middle],
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "sequence_length": self.sequence_length,
            "pad_id": self.pad_id,
            **quantized_config(self),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Self:
        middle = [
            keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects)
            for layer in config["middle"]
        ]
        config = revived_tokenizer({**config, "middle": middle})
        quantized = config.pop("quantized", {})
        model = cls(**config)
        quantize_as(model, quantized)
        return model


def _mask_for(block: keras.layers.Layer, token_mask: tf.Tensor | None) -> dict:
    """Return the argument `mask` of a block that takes one, where there is padding."""
    takes = token_mask is not None and "mask" in inspect.signature(block.call).parameters
    return {"mask": token_mask} if takes else {}


def _kept(
    token_mask: tf.Tensor | None, new: list[tf.Tensor], old: list[tf.Tensor]
) -> list[tf.Tensor]:
    """Return the new states of rows whose token is real, and the old ones of the others."""
    if token_mask is None:
        return new
    return [tf.where(token_mask, x, y) for x, y in zip(new, old, strict=True)]


def _lstm(width: int, use_bias: bool, dtype: Any, name: str) -> keras.layers.LSTM:
    return keras.layers.LSTM(
        width, use_bias=use_bias, return_sequences=True, dtype=dtype, name=name
    )
