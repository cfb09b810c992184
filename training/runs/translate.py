"""Translate many texts with a model in memory."""

from collections.abc import Callable, Sequence

import numpy as np

from moe_zoo.models.text.translator import Translator
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.training.text.ragged_rows import encode_texts

BATCH_SIZE = 64


def most_new_tokens(length: int) -> int:
    """Return the largest length of a translation: twice the length of the source, and 10 more.

    Example:

    >>> most_new_tokens(10)
    30
    """
    return 2 * length + 10


def translate_texts(
    model: Translator,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    num_beams: int,
    length_penalty: float,
    show_progress: Callable[[int], object] | None = None,
) -> list[str]:
    """Translate texts in batches of similar length.

    Args:
        model: Translation model.
        tokenizer: Tokenizer of its vocabulary.
        texts: Texts to translate.
        num_beams: Number of beams; 1 is greedy.
        length_penalty: Length penalty of beam search.
        show_progress: Function that is called with the number of translated texts, or `None`.

    Returns:
        Translations, in the order of the texts.
    """
    model.tokenizer = tokenizer
    lengths = encode_texts(tokenizer, texts).lengths
    order = np.argsort(-lengths, kind="stable")  # longest first: too large a batch fails at once
    translations = [""] * len(texts)
    for start in range(0, len(texts), BATCH_SIZE):
        places = order[start : start + BATCH_SIZE]
        translated = model.translate(
            [texts[place] for place in places],
            max_new_tokens=most_new_tokens(int(lengths[places[0]])),
            num_beams=num_beams,
            length_penalty=float(length_penalty),
        )
        for place, text in zip(places, translated, strict=True):
            translations[place] = text.strip()
        if show_progress:
            show_progress(min(start + BATCH_SIZE, len(texts)))
    return translations
