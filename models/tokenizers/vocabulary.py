"""Vocabularies of text pieces: learning them, and their file.

A piece is a string in which every character stands for one byte of UTF-8 (U+0000 to U+00FF): plain
ASCII reads as itself, and every text of every language can be spelled with the 256 single bytes.
"""

import hashlib
import heapq
import os
from collections import Counter, defaultdict
from collections.abc import Mapping

from moe_zoo.files import read_file, write_file
from moe_zoo.validation import shown

PAD, UNKNOWN, BEGIN = "[PAD]", "[UNK]", "[BOS]"
SPECIAL_PIECES = (PAD, UNKNOWN, BEGIN)
PAD_ID, UNKNOWN_ID, BEGIN_ID = range(3)
BYTES = tuple(map(chr, range(256)))
MINIMUM_SIZE = len(SPECIAL_PIECES) + len(BYTES)
MAXIMUM_WORDS, MAXIMUM_WORD_LENGTH = 30_000, 64  # what learning looks at
VISIBLE_SPACE = "▁"  # in the file, where an editor would strip a space at the end of a line
HEADER = "moe-zoo vocabulary, pieces {size}, sha256 {digest}"


def learn_vocabulary(counts: Mapping[str, int], size: int) -> list[str]:
    """Learn pieces by byte pair encoding, which makes the most frequent pair a piece repeatedly.

    Ties go to the pair that sorts first, so equal counts give an equal vocabulary.

    Args:
        counts: How often each word occurs. Pieces never cross the end of a word.
        size: Number of pieces wanted, special pieces and the 256 bytes included. Fewer come out
            when no pair is left that occurs twice.

    Returns:
        The special pieces, the bytes, then the learned pieces in the order in which they came.

    Example:

    >>> learn_vocabulary({"aab": 3, "ab": 2, "ba": 1}, size=261)[259:]
    ['ab', 'aab']

    Reference: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
    """
    common = sorted(
        ((-count, word) for word, count in counts.items() if 1 < len(word) <= MAXIMUM_WORD_LENGTH)
    )[:MAXIMUM_WORDS]
    frequencies = [-count for count, _ in common]
    words = [list(word) for _, word in common]
    pairs: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += frequencies[i]
            places[pair].add(i)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    pieces = dict.fromkeys([*SPECIAL_PIECES, *BYTES])
    while len(pieces) < size and heap:
        count, pair = heapq.heappop(heap)
        if pairs[pair] != -count:  # out of date: the right count is in the heap too
            continue
        if pairs[pair] < 2:
            break
        pieces["".join(pair)] = None
        changes: Counter[tuple[str, str]] = Counter()
        for i in places.pop(pair):
            old, words[i] = words[i], _merge(words[i], pair)
            for other in zip(old, old[1:], strict=False):
                changes[other] -= frequencies[i]
            for other in zip(words[i], words[i][1:], strict=False):
                changes[other] += frequencies[i]
                places[other].add(i)
        for other, change in changes.items():
            if change:
                pairs[other] += change
                heapq.heappush(heap, (-pairs[other], other))
    return list(pieces)


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(word):
        matches = word[i] == pair[0] and i + 1 < len(word) and word[i + 1] == pair[1]
        merged.append("".join(pair) if matches else word[i])
        i += 2 if matches else 1
    return merged


def check_vocabulary(pieces: list[str]) -> list[str]:
    """Return `pieces`. Raise `ValueError` unless they can be the vocabulary of a tokenizer."""
    if not isinstance(pieces, list | tuple):
        raise ValueError(
            f"Expected a list of pieces. Received: vocabulary={shown(pieces)}. Give the list that "
            "train_vocabulary returns, or use Tokenizer.load(path) for a file."
        )
    if strange := [piece for piece in pieces if not isinstance(piece, str)]:
        raise ValueError(
            f"Expected pieces that are strings. Received: vocabulary with {shown(strange[0])} of "
            f"type {type(strange[0]).__name__}. Decode bytes by 'latin-1', one character for each."
        )
    if tuple(pieces[:3]) != SPECIAL_PIECES:
        raise ValueError(
            f"Expected a vocabulary that begins with {SPECIAL_PIECES}. Received: "
            f"vocabulary={pieces[:3]}... Put the special pieces first, or train a new vocabulary."
        )
    if repeated := [piece for piece, count in Counter(pieces).items() if count > 1]:
        raise ValueError(
            "Expected every piece of a vocabulary once. Received: vocabulary with "
            f"{len(repeated)} repeated pieces, such as {shown(repeated[0])}. Remove the "
            "repetitions."
        )
    if wrong := [piece for piece in pieces if not piece or max(piece) > BYTES[-1]]:
        raise ValueError(
            "Expected pieces of one or more characters from U+0000 to U+00FF, one for each byte of "
            f"UTF-8. Received: vocabulary with the piece {shown(wrong[0])}. Spell it as "
            "piece.encode().decode('latin-1')."
        )
    return list(pieces)


def fingerprint(pieces: list[str]) -> str:
    """Return the SHA-256 of a vocabulary, equal only for equal pieces in equal order."""
    return _digest([_escape(piece) for piece in pieces])


def save_vocabulary(pieces: list[str], path: str | os.PathLike) -> None:
    r"""Write one piece a line, after a line with their number and fingerprint.

    Line ends and other unprintable bytes are written as in a Python string (`\n`, `\xe4`), spaces
    as `▁`. The file appears under its name when it is complete.
    """
    header = HEADER.format(size=len(pieces), digest=fingerprint(pieces))
    write_file(path, "\n".join([header, *map(_escape, pieces)]) + "\n")


def load_vocabulary(path: str | os.PathLike) -> list[str]:
    """Read a file that `save_vocabulary` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of another kind, or no regular file.
    """
    data = read_file(path)
    try:
        header, *lines, last = data.decode("utf-8").split("\n")
    except ValueError:  # no UTF-8, or no second line
        header, lines, last = "", [], ""
    if last or header != HEADER.format(size=len(lines), digest=_digest(lines)):
        raise ValueError(
            "Expected a vocabulary as Tokenizer.save writes it. Received: "
            f"path={shown(str(path))}, whose pieces do not match its first line: the file is "
            "damaged, was edited, or is of another kind. Restore it, or train a new vocabulary "
            "together with its model."
        )
    return check_vocabulary([_unescape(line) for line in lines])


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _escape(piece: str) -> str:
    return piece.encode("unicode_escape").decode("ascii").replace(" ", VISIBLE_SPACE)


def _unescape(line: str) -> str:
    return line.replace(VISIBLE_SPACE, " ").encode("ascii").decode("unicode_escape")
