"""What a SavedModel of a language model offers."""

import tensorflow as tf

from moe_zoo.models.generation import generate as continue_prompts
from moe_zoo.models.generation import to_dense


def language_model_endpoints(model, tokenizer):
    """Endpoints of a language model for `export_saved_model`: `serve`, `serve_text`, `generate`.

        serve(tokens <int32>[B, T]) -> <float32>[B, T, V], logits of the next token.
        serve_text(text <string>[B]) -> `log_probability` <float32>[B], `tokens` <int32>[B] and
            `perplexity` <float32>[B] of each text.
        generate(prompt <string>[B], max_new_tokens <int32>[], temperature <float32>[],
            top_k <int32>[], seed <int32>[]) -> <string>[B], the prompts and what follows them.
            Temperature 0 is greedy, top_k 0 all.

    Args:
        model: an `LSTMLanguageModel`.
        tokenizer: of the model's vocabulary, such as `moe_zoo.training.Tokenizer`.

    Raises:
        ValueError: the vocabulary is not of the model's size.
    """
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"tokenizer.vocabulary_size={tokenizer.vocabulary_size}. Use the one that it was "
            "trained with."
        )

    def begin(text):
        ids = tokenizer.encode(text)
        start = tf.fill([tf.shape(text)[0], 1], tokenizer.begin_id)
        return tf.concat([start, ids], 1)

    def serve(tokens):
        return tf.cast(model(tokens), tf.float32)

    def serve_text(text):
        tokens = begin(text)
        length = tf.cast(tokens.row_lengths(), tf.int32) - 1
        dense = to_dense(tokens, least=2)
        real = tf.sequence_mask(length, tf.shape(dense)[1] - 1)
        logits = serve(dense[:, :-1])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(dense[:, 1:], logits)
        total = tf.reduce_sum(tf.where(real, loss, 0.0), 1)
        perplexity = tf.exp(tf.math.divide_no_nan(total, tf.cast(length, tf.float32)))
        return {"log_probability": -total, "tokens": length, "perplexity": perplexity}

    def generate(prompt, max_new_tokens, temperature, top_k, seed):
        never = [tokenizer.pad_id, tokenizer.unknown_id]
        tokens = continue_prompts(
            model,
            begin(prompt),
            max_new_tokens,
            temperature,
            top_k,
            seed,
            end=tokenizer.begin_id,
            never=never,
        )
        return tokenizer.decode(tokens)

    def spec(shape, dtype, name):
        return tf.TensorSpec(shape, dtype, name)

    return {
        "serve": (serve, [spec([None, None], tf.int32, "tokens")]),
        "serve_text": (serve_text, [spec([None], tf.string, "text")]),
        "generate": (
            generate,
            [
                spec([None], tf.string, "prompt"),
                spec([], tf.int32, "max_new_tokens"),
                spec([], tf.float32, "temperature"),
                spec([], tf.int32, "top_k"),
                spec([], tf.int32, "seed"),
            ],
        ),
    }
