"""Text to token ids and back, inside the TensorFlow graph and without losing a byte."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import keras
import tensorflow as tf

from moe_zoo.models.checks import as_strings, check_ids
from moe_zoo.validation import shown

from .tensorflow_text import require_tensorflow_text
from .vocabulary import (
    BEGIN_ID,
    MINIMUM_SIZE,
    PAD_ID,
    SPECIAL_PIECES,
    UNKNOWN_ID,
    check_vocabulary,
    fingerprint,
    learn_vocabulary,
    load_vocabulary,
    save_vocabulary,
)
from .words import FROM_SEARCHED, TO_SEARCHED, split_lines, split_words

LONGEST_PIECE = 256  # bytes, in the search
SAMPLE_CHARACTERS = 16 << 20  # what a vocabulary is trained on at most


@keras.saving.register_keras_serializable("moe_zoo")
class Tokenizer(tf.Module):
    r"""Splits text into pieces of a vocabulary, and joins pieces to text.

    Text is handled as bytes of UTF-8. A regular expression cuts it into words (a word carries the
    space before it, an end of line carries the indentation after it), and each word becomes the
    pieces that a longest-match-first search finds in it, `tensorflow_text.FastWordpieceTokenizer`
    without a mark for pieces inside a word. Nothing is normalised: `decode(encode(text)) == text`.
    All of it is TensorFlow operations, and the vocabulary is part of the graph.

    Args:
        vocabulary: The pieces, in the order of their ids: `[PAD]`, `[UNK]`, `[BOS]`, then strings
            whose characters stand for bytes (see `vocabulary.py`). With all 256 single
            bytes, as `train_vocabulary` gives them, no text contains an unknown token; a
            word with a byte that is no piece is one `[UNK]`.

    Raises:
        ValueError: If special pieces are missing, or pieces are repeated, too long or not made of
            bytes.
        ImportError: If tensorflow-text is missing.

    Example:

    >>> text = "def f(x):\n    return x\n"
    >>> tokenizer = Tokenizer(train_vocabulary([text * 9], size=270))
    >>> ids = tokenizer.encode([text, ""])
    >>> tokenizer.decode(ids).numpy()[0].decode() == text
    True
    """

    pad_id, unknown_id, begin_id = PAD_ID, UNKNOWN_ID, BEGIN_ID
    end_id = BEGIN_ID  # a document ends where the next one begins

    def __init__(self, vocabulary: list[str], name: str | None = None):
        super().__init__(name=name)
        self._vocabulary = tuple(check_vocabulary(vocabulary))
        ordinary = self._vocabulary[len(SPECIAL_PIECES) :]
        searched = [piece.translate(TO_SEARCHED) for piece in ordinary]
        if longest := [x for x in searched if len(x.encode()) > LONGEST_PIECE]:
            raise ValueError(
                f"Expected pieces of at most {LONGEST_PIECE} bytes, where U+0000, U+0011 and those "
                f"from U+0080 on count 2. Received: vocabulary with {longest[0][:20]!r}... of "
                f"{len(longest[0])} characters. Remove such pieces."
            )
        # Names that no text can spell: its characters end at U+0101.
        special = [f"\u2581{i}" for i in range(len(SPECIAL_PIECES))]
        texts = [b""] * len(special) + [piece.encode("latin-1") for piece in ordinary]
        texts[UNKNOWN_ID] = "\ufffd".encode()
        with tf.init_scope(), tf.device("CPU:0"):
            self._texts = tf.constant(texts)
            self._search = require_tensorflow_text().FastWordpieceTokenizer(
                vocab=[*special, *searched],
                suffix_indicator="",
                unknown_token=special[UNKNOWN_ID],
                max_bytes_per_word=2**30,
                token_out_type=tf.int32,
                no_pretokenization=True,
            )

    @property
    def vocabulary(self) -> list[str]:
        """Return the pieces in the order of their ids."""
        return list(self._vocabulary)

    @property
    def vocabulary_size(self) -> int:
        """Return the number of pieces, the special ones included."""
        return len(self._vocabulary)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the vocabulary, equal only for tokenizers that give equal ids."""
        return fingerprint(self.vocabulary)

    def encode(self, strings: Any) -> tf.RaggedTensor:
        """Return the token ids of each string, without a `[BOS]`.

        Args:
            strings: `<string>[batch]`, or a list of strings.

        Returns:
            `<int32>[batch, (tokens)]`.
        """
        return self._encode(as_strings(strings))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def _encode(self, strings: tf.Tensor) -> tf.RaggedTensor:
        return self._search.tokenize(split_words(strings)).merge_dims(1, 2)

    def decode(self, ids: Any) -> tf.Tensor:
        """Return the text of token ids.

        `[PAD]` and `[BOS]` have none; `[UNK]` and broken UTF-8 give U+FFFD.

        Args:
            ids: `<int32 or int64>[batch, tokens]`, dense or ragged.

        Returns:
            `<string>[batch]`.

        Raises:
            ValueError: If an id is not from 0 to `vocabulary_size - 1`, or within a graph
                `tf.errors.InvalidArgumentError` when it runs.
        """
        ids = check_ids(ids, self.vocabulary_size, "ids")
        texts = tf.strings.reduce_join(tf.gather(self._texts, ids), axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def save(self, path: str | os.PathLike) -> None:
        """Write the vocabulary to a text file, which appears only when it is complete.

        Args:
            path: `str` or path of the file.
        """
        save_vocabulary(self.vocabulary, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Load a tokenizer from a file of `save`.

        Args:
            path: `str` or path of the file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or of another kind.
        """
        return cls(load_vocabulary(path))

    def get_config(self) -> dict:
        """Return arguments that make an equal tokenizer."""
        return {"vocabulary": self.vocabulary, "name": self.name}

    @classmethod
    def from_config(cls, config: dict) -> Self:
        """Make a tokenizer from the configuration that `get_config` returned."""
        return cls(**config)


def train_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Learn a vocabulary by byte pair encoding (see `learn_vocabulary`).

    From more than 16 million characters, chunks at equal distances are taken. The same texts give
    the same vocabulary on every machine.

    Args:
        texts: Texts to learn from; only those of the training part.
        size: Number of pieces: `[PAD]`, `[UNK]`, `[BOS]`, the 256 bytes, and what is learned. A
            short text gives fewer.

    Raises:
        ValueError: If `size` is below 259, or there is no text.
    """
    if isinstance(texts, str | bytes):
        raise ValueError(
            f"Expected texts to learn from. Received: texts={shown(texts)}. Put a single text into "
            "a list."
        )
    if size < MINIMUM_SIZE:
        raise ValueError(
            f"Expected a vocabulary of at least {MINIMUM_SIZE} pieces (3 special ones and the 256 "
            f"bytes). Received: size={size}. 4000 is a good size for 10 MB of text."
        )
    chunks = [chunk for text in texts for chunk in split_lines(text)]
    if not chunks:
        raise ValueError("Expected some text to learn from. Received: texts without a character.")
    stride = -(-sum(map(len, chunks)) // SAMPLE_CHARACTERS)
    counts: Counter[bytes] = Counter()
    for chunk in chunks[::stride]:
        counts.update(split_words(tf.constant([chunk])).flat_values.numpy().tolist())
    words = {word.decode().translate(FROM_SEARCHED): count for word, count in counts.items()}
    return learn_vocabulary(words, size)
