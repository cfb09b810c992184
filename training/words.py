"""Words: what a tokenizer cuts text into before it looks for pieces in each."""

from collections.abc import Iterator

import tensorflow as tf

from moe_zoo.models.tensorflow_text import require_tensorflow_text

# Words in RE2's syntax; every character belongs to exactly one, in this order of preference.
WORDS = "|".join(
    (
        r"[^\s0-9A-Za-z\x{80}-\x{ff}]?[A-Za-z\x{80}-\x{ff}]+",  # name, .name, _name, (name
        r" [A-Za-z\x{80}-\x{ff}]+",  # a name and the space before it
        r"\n+ *",  # ends of lines and the indentation after them
        r" ?[0-9]{1,3}",
        r" ?[^\s0-9A-Za-z\x{80}-\x{ff}]+",  # punctuation
        r" +",
        r"\s",
    )
)
NUL = "\u0100"  # what the byte 0 becomes, for the search takes 0 for the end of a piece
CHUNK_CHARACTERS = 1 << 20  # texts are split and tokenized in chunks of about this size


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def split_words(strings: tf.Tensor) -> tf.RaggedTensor:
    """Words of each string, with a character of U+0001 to U+0100 for each byte."""
    characters = tf.strings.unicode_transcode(strings, "ISO-8859-1", "UTF-8")
    characters = tf.strings.regex_replace(characters, r"\x00", NUL)
    return require_tensorflow_text().regex_split(
        characters, WORDS, keep_delim_regex_pattern="(?s).+"
    )


def split_lines(text: str) -> Iterator[str]:
    """Cuts a text into chunks of whole lines that have the same tokens as the whole text.

    No word goes over the cut, because one that begins with an end of line begins there.
    """
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin + CHUNK_CHARACTERS)
        while end > 0 and text[end - 1] == "\n":
            end = text.find("\n", end + 1)
        end = len(text) if end < 0 else end
        yield text[begin:end]
        begin = end
