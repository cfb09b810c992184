"""Translation: target texts of source texts, by an encoder-decoder model."""

from typing import Any

import tensorflow as tf

from moe_zoo.export import endpoint
from moe_zoo.models.checks import check_options
from moe_zoo.models.decoding.decode import OPTION_SPECS, OPTIONS, decode
from moe_zoo.models.decoding.generation import to_dense
from moe_zoo.models.decoding.prompts import ragged_prompts

from .language_model import END_SPEC, NO_END
from .text_model import PartOfTextModel, named, require_tokenizer, strings, texts_in

BEGIN_SPEC = named("begin_id", tf.int32, 0)


class Translator(PartOfTextModel):
    """Part of a `TextModel` that writes target texts of source texts.

    A subclass defines `initial_states(source, length)` and `step(tokens, states, place)`.
    """

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

    def endpoints(self) -> dict[str, tf.function]:
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

        def serve(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            """Return the logits of what follows each token of the target: `<float32>[B, T, V]`."""
            return tf.cast(self({"source": source, "target": target}), tf.float32)

        def translate(
            texts: tf.Tensor,
            max_new_tokens: int | tf.Tensor = 128,
            num_beams: int | tf.Tensor = 1,
            length_penalty: float | tf.Tensor = 0.6,
            temperature: float | tf.Tensor = 0.0,
            top_k: int | tf.Tensor = 0,
            top_p: float | tf.Tensor = 1.0,
            seed: int | tf.Tensor = 0,
        ) -> tf.Tensor:
            """Return the target texts of source texts: greedy, by draws or by beam search."""
            options = max_new_tokens, temperature, top_k, top_p, seed, num_beams, length_penalty
            return require_tokenizer(self).decode(write(self._ended(texts), begin, end, *options))

        def translate_ids(
            source: tf.Tensor,
            max_new_tokens: int | tf.Tensor = 128,
            num_beams: int | tf.Tensor = 1,
            length_penalty: float | tf.Tensor = 0.6,
            temperature: float | tf.Tensor = 0.0,
            top_k: int | tf.Tensor = 0,
            top_p: float | tf.Tensor = 1.0,
            seed: int | tf.Tensor = 0,
            begin_id: int | tf.Tensor = begin,
            end_id: int | tf.Tensor = end,
        ) -> tf.Tensor:
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

    def _make_write(self) -> tf.function:
        """Return the function of source ids, begin, end and options that writes target ids."""
        never = [self.pad_id]
        if self.tokenizer is not None:
            never = [self.tokenizer.pad_id, self.tokenizer.unknown_id]

        def write(
            source: tf.Tensor,
            begin_id: int | tf.Tensor,
            end_id: int | tf.Tensor,
            *values: tf.Tensor,
        ) -> tf.RaggedTensor:
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

    def _ended(self, texts: tf.Tensor) -> tf.Tensor:
        """Return the ids of texts before an end token: `<int32>[B, S]`, padded."""
        tokenizer = require_tokenizer(self)
        end = tf.fill([tf.shape(texts)[0], 1], tokenizer.end_id)
        ids = tf.concat([tokenizer.encode(texts), end], 1)
        return to_dense(ids, least=1, fill=tokenizer.pad_id)

    def _ends(self) -> tuple[int, int]:
        """Return the ids of the tokens that begin and end a text."""
        if self.tokenizer is None:
            return self.pad_id, NO_END
        return self.tokenizer.begin_id, self.tokenizer.end_id
