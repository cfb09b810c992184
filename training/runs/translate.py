"""Many texts translated by a model in memory, as its SavedModel would."""

import numpy as np

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
    model.tokenizer = tokenizer
    lengths = encode_texts(tokenizer, texts).lengths
    order = np.argsort(-lengths, kind="stable")  # the longest first: what fits, fits from there
    translations = [""] * len(texts)
    for start in range(0, len(texts), BATCH_SIZE):
        places = order[start : start + BATCH_SIZE]
        written = model.translate(
            [texts[place] for place in places],
            max_new_tokens=most_new_tokens(int(lengths[places[0]])),
            num_beams=num_beams,
            length_penalty=float(length_penalty),
        )
        for place, text in zip(places, written, strict=True):
            translations[place] = text.strip()
        if show_progress:
            show_progress(min(start + BATCH_SIZE, len(texts)))
    return translations
