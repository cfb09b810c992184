"""What a SavedModel of an encoder-decoder model offers."""

import tensorflow as tf

from moe_zoo.models.decoding.decode import (
    OPTIONS,
    SEARCHED,
    SPECS,
    check_padding,
    check_vocabulary_size,
    decode,
)
from moe_zoo.models.decoding.generation import to_dense


def seq2seq_endpoints(model, tokenizer):
    """Endpoints of an encoder-decoder model: `serve`, `translate`, `generate`.

        serve(source <int32>[B, S], target <int32>[B, T]) -> <float32>[B, T, V], logits of what
            follows each token of the target, which begins with the begin token.
        translate(text <string>[B], max_new_tokens <int32>[], num_beams <int32>[],
            length_penalty <float32>[]) -> <string>[B]. One beam is greedy.
        generate(source <int32>[B, S], max_new_tokens <int32>[], temperature <float32>[],
            top_k <int32>[], top_p <float32>[], seed <int32>[], num_beams <int32>[],
            length_penalty <float32>[]) -> <int32>[B, T], filled up with the padding id, without
            the begin and end tokens. Temperature 0 is greedy, top_k 0 all, top_p 1 all. From 2
            beams on it is beam search, in which nothing is drawn.

    A source ends with the end token and may be filled up with the padding id; `translate` puts the
    end token there.

    Args:
        model: a `TransformerSeq2Seq`.
        tokenizer: of the model's vocabulary, with `begin_id` and `end_id`.

    Raises:
        ValueError: the vocabulary is not of the model's size, or its padding not the model's.
    """
    check_vocabulary_size(model, tokenizer)
    check_padding(model, tokenizer)

    def serve(source, target):
        return tf.cast(model({"source": source, "target": target}), tf.float32)

    def write(source, options):
        """What follows the begin token, `<int32>[B, (tokens)]`."""
        start = tf.fill([tf.shape(source)[0], 1], tokenizer.begin_id)
        length = tf.maximum(options["max_new_tokens"], 1)  # the last token is not fed, this one is
        tokens = decode(
            model.step,
            model.initial_states(source, length),
            tf.RaggedTensor.from_tensor(start),
            options,
            end=tokenizer.end_id,
            never=[tokenizer.pad_id, tokenizer.unknown_id],
        )
        return tokens[:, 1:]

    def translate(text, *values):
        ids = tokenizer.encode(text)
        ends = tf.fill([tf.shape(text)[0], 1], tokenizer.end_id)
        source = to_dense(tf.concat([ids, ends], 1), least=1, fill=tokenizer.pad_id)
        draws = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}
        return tokenizer.decode(
            write(source, {**draws, **dict(zip(SEARCHED, values, strict=True))})
        )

    def generate(source, *values):
        tokens = write(source, dict(zip(OPTIONS, values, strict=True)))
        return to_dense(tokens, least=0, fill=tokenizer.pad_id)

    source, target = (tf.TensorSpec([None, None], tf.int32, x) for x in ("source", "target"))
    search = [spec for spec in SPECS if spec.name in SEARCHED]
    return {
        "serve": (serve, [source, target]),
        "translate": (translate, [tf.TensorSpec([None], tf.string, "text"), *search]),
        "generate": (generate, [source, *SPECS]),
    }
