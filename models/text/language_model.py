"""What language models do: continue prompts, and score texts."""

from typing import Any

import tensorflow as tf

from moe_zoo.export import endpoint
from moe_zoo.models.checks import check_options
from moe_zoo.models.decoding.decode import OPTION_SPECS, OPTIONS, decode
from moe_zoo.models.decoding.generation import to_dense, tokens_fed
from moe_zoo.models.decoding.prompts import padding_of, ragged_prompts

from .text_model import PartOfTextModel, named, require_tokenizer, strings, texts_in

NO_END = -1  # no token has this id
END_SPEC = named("end_id", tf.int32, 0)


class LanguageModel(PartOfTextModel):
    """Part of a `TextModel` of the next token: continues prompts and scores texts.

    A subclass defines `initial_states(batch_size, length)` and `step(tokens, states, place)`.
    """

    def generate(
        self,
        prompts: Any,
        max_new_tokens: int = 60,
        temperature: float = 0.7,
        top_k: int = 20,
        top_p: float = 1.0,
        seed: int = 0,
        num_beams: int = 1,
        length_penalty: float = 0.6,
        end_id: int | None = None,
    ) -> str | list[str] | tf.RaggedTensor:
        """Continue prompts.

        Mixtures of experts drop no token, as in a SavedModel, so that a text does not depend on the
        other prompts.

        Args:
            prompts: `str`, a list or tensor of strings, or ids `<int>[B, (tokens)]`, ragged, dense
                or as lists, with padding anywhere. Texts need a `tokenizer`.
            max_new_tokens: `int`, the most tokens that are added to a prompt.
            temperature: `float`, what logits are divided by; 0 takes the most probable token.
            top_k: `int`, draw from the most probable K tokens; 0 draws from all.
            top_p: `float`, draw from the most probable tokens that have this probability together;
                1 draws from all.
            seed: `int`, of the draws.
            num_beams: `int`; from 2 on, search for the most probable text and draw nothing.
            length_penalty: `float`, of beam search: the larger, the longer the texts; 0 for none.
            end_id: `int`, the token that ends a text; `None` is the tokenizer's, or none at all
                without a tokenizer.

        Returns:
            Prompts and what follows them, without the end token: a `str` for a `str`, a list of
            `str` for strings, `<int32>[B, (tokens)]`, ragged, for ids.

        Raises:
            ValueError: If an option is out of its limits, a prompt has no token, or texts are given
                to a model without a tokenizer.

        Example:

        >>> import keras
        >>> from moe_zoo.models import LSTMLanguageModel
        >>> model = LSTMLanguageModel(100, 16, middle=[])
        >>> model.generate([[5, 7], [11]], max_new_tokens=3).row_lengths().numpy()
        array([5, 4])
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
        if end_id is None:
            end_id = self._end_id()
        texts, single = texts_in(prompts)
        if texts is None:
            ids = ragged_prompts(prompts, padding_of(self.step))
        else:
            ids = self._begun(texts)
        written = self.traced(self._make_write)(ids, end_id, *options.values())
        return (
            written if texts is None else strings(require_tokenizer(self).decode(written), single)
        )

    def score(self, texts: Any) -> dict[str, tf.Tensor]:
        """Return how probable texts are to the model.

        Args:
            texts: `str`, or a list or tensor of strings.

        Returns:
            `dict` of `log_probability` `<float32>[B]`, `tokens` `<int32>[B]` and `perplexity`
            `<float32>[B]`.

        Raises:
            ValueError: If the model has no tokenizer, or ids are given.
        """
        texts, _ = texts_in(texts)
        if texts is None:
            raise ValueError(
                "Expected a list of strings. Received: ids. Give texts, or compute the loss of "
                "ids by model.evaluate."
            )
        return self.traced(self._make_score)(texts)

    def endpoints(self) -> dict[str, tf.function]:
        """Return the functions that a SavedModel of this model offers, by name.

            serve(tokens <int32>[B, T]) -> <float32>[B, T, V], logits of the next token.
            score(texts <string>[B]) -> `log_probability` <float32>[B], `tokens` <int32>[B] and
                `perplexity` <float32>[B] of each text.
            generate(prompts <string>[B], max_new_tokens=60, temperature=0.7, top_k=20, top_p=1.0,
                seed=0, num_beams=1, length_penalty=0.6, end_id=...) -> <string>[B], the prompts
                and what follows them.
            generate_ids(prompts <int32>[B, T], ...) -> <int32>[B, T'], the same of ids, padded.

        `score` and `generate` need a `tokenizer`, `generate_ids` a `pad_id`.
        """
        end, write = self._end_id(), self._make_write()

        def serve(tokens: tf.Tensor) -> tf.Tensor:
            """Return the logits of the next token after each: `<float32>[B, T, V]`."""
            return tf.cast(self(tokens), tf.float32)

        def generate(
            prompts: tf.Tensor,
            max_new_tokens: int | tf.Tensor = 60,
            temperature: float | tf.Tensor = 0.7,
            top_k: int | tf.Tensor = 20,
            top_p: float | tf.Tensor = 1.0,
            seed: int | tf.Tensor = 0,
            num_beams: int | tf.Tensor = 1,
            length_penalty: float | tf.Tensor = 0.6,
            end_id: int | tf.Tensor = end,
        ) -> tf.Tensor:
            """Return the prompts and what follows them, by draws or by beam search; ids padded."""
            options = max_new_tokens, temperature, top_k, top_p, seed, num_beams, length_penalty
            if prompts.dtype == tf.string:
                return require_tokenizer(self).decode(write(self._begun(prompts), end_id, *options))
            written = write(tf.RaggedTensor.from_tensor(prompts), end_id, *options)
            return to_dense(written, least=0, fill=self.pad_id)

        options = [*OPTION_SPECS, END_SPEC]
        endpoints = {"serve": endpoint(self, serve, named("tokens", tf.int32, 2))}
        if self.tokenizer is not None:
            prompts = named("prompts", tf.string, 1)
            endpoints["score"] = self._make_score()
            endpoints["generate"] = endpoint(self, generate, prompts, *options)
        if self.pad_id is not None:
            prompts = named("prompts", tf.int32, 2)
            endpoints["generate_ids"] = endpoint(self, generate, prompts, *options)
        return endpoints

    def _make_write(self) -> tf.function:
        """Return the function of ragged ids, the end token and options that continues them."""
        if self.tokenizer is not None:
            never = [self.tokenizer.pad_id, self.tokenizer.unknown_id]
        else:
            never = [] if self.pad_id is None else [self.pad_id]

        def write(
            prompts: tf.Tensor, end_id: int | tf.Tensor, *values: tf.Tensor
        ) -> tf.RaggedTensor:
            options = dict(zip(OPTIONS, values, strict=True))
            length = tokens_fed(prompts, options["max_new_tokens"])
            states = self.initial_states(prompts.nrows(tf.int32), length)
            return decode(self.step, states, prompts, options, end=end_id, never=never)

        prompts = tf.RaggedTensorSpec([None, None], tf.int32, ragged_rank=1)
        return endpoint(self, write, prompts, END_SPEC, *OPTION_SPECS)

    def _make_score(self) -> tf.function:
        """Return the function of texts that scores them."""
        tokenizer = require_tokenizer(self)

        def score(texts: tf.Tensor) -> dict[str, tf.Tensor]:
            """Return `log_probability`, number of `tokens` and `perplexity` of each text."""
            tokens = self._begun(texts)
            length = tf.cast(tokens.row_lengths(), tf.int32) - 1
            dense = to_dense(tokens, least=2, fill=tokenizer.pad_id)
            is_token = tf.sequence_mask(length, tf.shape(dense)[1] - 1)
            logits = tf.cast(self(dense[:, :-1]), tf.float32)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(dense[:, 1:], logits)
            total = tf.reduce_sum(tf.where(is_token, loss, 0.0), 1)
            perplexity = tf.exp(tf.math.divide_no_nan(total, tf.cast(length, tf.float32)))
            return {"log_probability": -total, "tokens": length, "perplexity": perplexity}

        return endpoint(self, score, named("texts", tf.string, 1))

    def _begun(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of texts after a begin token: `<int32>[B, (tokens)]`."""
        tokenizer = require_tokenizer(self)
        begin = tf.fill([tf.shape(texts)[0], 1], tokenizer.begin_id)
        return tf.concat([begin, tokenizer.encode(texts)], 1)

    def _end_id(self) -> int:
        return NO_END if self.tokenizer is None else self.tokenizer.end_id
