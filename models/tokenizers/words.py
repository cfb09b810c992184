"""Words: what a tokenizer cuts text into before it looks for pieces in each."""

from collections.abc import Iterator

import tensorflow as tf

from .tensorflow_text import require_tensorflow_text

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
# The search takes 0 for the end of a piece, and uses 0x11 for marks of its own: a piece of it
# crashes the process. Both are searched for as characters that no byte has.
STAND_INS = {"\x00": "\u0100", "\x11": "\u0101"}
TO_SEARCHED = str.maketrans(STAND_INS)
FROM_SEARCHED = str.maketrans({there: here for here, there in STAND_INS.items()})
CHUNK_CHARACTERS = 1 << 20  # texts are split and tokenized in chunks of about this size


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def split_words(strings: tf.Tensor) -> tf.RaggedTensor:
    """Return the words of each string, with a character of U+0001 to U+0101 for each byte."""
    characters = tf.strings.unicode_transcode(strings, "ISO-8859-1", "UTF-8")
    for byte, stand_in in STAND_INS.items():
        characters = tf.strings.regex_replace(characters, f"\\x{ord(byte):02x}", stand_in)
    return require_tensorflow_text().regex_split(
        characters, WORDS, keep_delim_regex_pattern="(?s).+"
    )


def split_lines(text: str) -> Iterator[str]:
    """Cut a text into chunks of whole lines that have the same tokens as the whole text.

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
