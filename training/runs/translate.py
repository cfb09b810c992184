"""Many texts translated by a model in memory, as its SavedModel would."""

import numpy as np
import tensorflow as tf

from moe_zoo.export import serving_mode
from moe_zoo.models import seq2seq_endpoints
from moe_zoo.training.text.ragged_rows import encode_texts

BATCH_SIZE = 64


def most_new_tokens(length):
    """The most tokens that a translation may have: twice those of the source, and some more.

    Example:

    >>> most_new_tokens(10)
    30
    """
    return 2 * length + 10


def translate_texts(model, tokenizer, texts, num_beams, length_penalty, show_progress=None):
    """Translations of texts, in batches of about equal length.

    Args:
        model: a `TransformerSeq2Seq`.
        tokenizer: of its vocabulary.
        texts: `list` of `str`.
        num_beams: `int`, 1 for greedy.
        length_penalty: `float`, of beam search.
        show_progress: function of the number of texts that are done, or `None`.

    Returns:
        `list` of `str`.
    """
    function, signature = seq2seq_endpoints(model, tokenizer)["translate"]
    translate = tf.function(function, input_signature=signature)
    lengths = encode_texts(tokenizer, texts).lengths
    order = np.argsort(-lengths, kind="stable")  # the longest first: what fits, fits from there
    translations = [""] * len(texts)
    with serving_mode(model):
        for start in range(0, len(texts), BATCH_SIZE):
            places = order[start : start + BATCH_SIZE]
            written = translate(
                tf.constant([texts[place] for place in places]),
                most_new_tokens(int(lengths[places[0]])),
                num_beams,
                float(length_penalty),
            )
            for place, text in zip(places, written.numpy(), strict=True):
                translations[place] = text.decode("utf-8", "replace").strip()
            if show_progress:
                show_progress(min(start + BATCH_SIZE, len(texts)))
    return translations
