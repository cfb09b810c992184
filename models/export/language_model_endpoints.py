"""What a SavedModel of a language model offers."""

import tensorflow as tf

from moe_zoo.models.decoding.decode import (
    OPTIONS,
    SPECS,
    check_padding,
    check_vocabulary_size,
    decode,
)
from moe_zoo.models.decoding.generation import to_dense, tokens_fed


def language_model_endpoints(model, tokenizer):
    """Endpoints of a language model for `export_saved_model`: `serve`, `serve_text`, `generate`.

        serve(tokens <int32>[B, T]) -> <float32>[B, T, V], logits of the next token.
        serve_text(text <string>[B]) -> `log_probability` <float32>[B], `tokens` <int32>[B] and
            `perplexity` <float32>[B] of each text.
        generate(prompt <string>[B], max_new_tokens <int32>[], temperature <float32>[],
            top_k <int32>[], top_p <float32>[], seed <int32>[], num_beams <int32>[],
            length_penalty <float32>[]) -> <string>[B], the prompts and what follows them.
            Temperature 0 is greedy, top_k 0 all, top_p 1 all. From 2 beams on it is beam search
            with a length penalty, in which nothing is drawn.

    Args:
        model: an `LSTMLanguageModel`, or another with `initial_states` and `step`.
        tokenizer: of the model's vocabulary, such as `moe_zoo.training.Tokenizer`.

    Raises:
        ValueError: the vocabulary is not of the model's size, or its padding not the model's.
    """
    check_vocabulary_size(model, tokenizer)
    check_padding(model, tokenizer)

    def begin(text):
        ids = tokenizer.encode(text)
        start = tf.fill([tf.shape(text)[0], 1], tokenizer.begin_id)
        return tf.concat([start, ids], 1)

    def serve(tokens):
        return tf.cast(model(tokens), tf.float32)

    def serve_text(text):
        tokens = begin(text)
        length = tf.cast(tokens.row_lengths(), tf.int32) - 1
        dense = to_dense(tokens, least=2, fill=tokenizer.pad_id)
        real = tf.sequence_mask(length, tf.shape(dense)[1] - 1)
        logits = serve(dense[:, :-1])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(dense[:, 1:], logits)
        total = tf.reduce_sum(tf.where(real, loss, 0.0), 1)
        perplexity = tf.exp(tf.math.divide_no_nan(total, tf.cast(length, tf.float32)))
        return {"log_probability": -total, "tokens": length, "perplexity": perplexity}

    def generate(prompt, *values):
        prompts, options = begin(prompt), dict(zip(OPTIONS, values, strict=True))
        length = tokens_fed(prompts, options["max_new_tokens"])
        states = model.initial_states(prompts.nrows(tf.int32), length)
        never = [tokenizer.pad_id, tokenizer.unknown_id]
        tokens = decode(model.step, states, prompts, options, end=tokenizer.end_id, never=never)
        return tokenizer.decode(tokens)

    return {
        "serve": (serve, [tf.TensorSpec([None, None], tf.int32, "tokens")]),
        "serve_text": (serve_text, [tf.TensorSpec([None], tf.string, "text")]),
        "generate": (generate, [tf.TensorSpec([None], tf.string, "prompt"), *SPECS]),
    }
