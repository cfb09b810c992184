"""The file of a SentencePiece model: a protocol buffer, read field by field to find damage.

The library takes what it does not know for the field of a later release and leaves it out, so that
many damaged files are models of other pieces.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

from moe_zoo.validation import shown

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
PIECE, SPECIFICATIONS = 1, (2, 3, 4, 5)  # trainer, normalizer, tests, denormalizer
TEXT, SCORE, KIND = 1, 2, 3  # of a piece
FIRST_EXTENSION = 200
KINDS = range(1, 7)


def check_pieces(model: bytes) -> None:
    """Raise `ValueError` unless a SentencePiece model is whole as far as its form tells.

    Other letters in a piece, or another score, are no fault of form: a digest finds those.
    """
    texts = set()
    for number, wire, value in _fields(model):
        if wire != BYTES or number not in (PIECE, *SPECIFICATIONS):
            raise ValueError(f"it has a field {number} of type {wire}, which no such model has")
        if number == PIECE:
            text = _piece(value)
            if text in texts:
                raise ValueError(f"it has the piece {shown(text)} twice")
            texts.add(text)
        else:
            list(_fields(value))


def _piece(data: bytes) -> str:
    text, score, kind = "", 0.0, 1
    for number, wire, value in _fields(data):
        if (number, wire) == (TEXT, BYTES):
            text = value.decode("utf-8")
        elif (number, wire) == (SCORE, FIXED_32):
            (score,) = struct.unpack("<f", value)
        elif (number, wire) == (KIND, VARINT):
            kind = value
        elif number < FIRST_EXTENSION:
            raise ValueError(f"a piece has a field {number} of type {wire}")
    if not text or not math.isfinite(score) or kind not in KINDS:
        raise ValueError(f"its piece {shown(text)} has score {score} and kind {shown(kind)}")
    return text


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Yield (number, wire type, value) of a message. Raise `ValueError` if it is none."""
    place = 0
    value: Any
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(data, place)
        elif wire in (BYTES, FIXED_32, FIXED_64):
            length = {FIXED_32: 4, FIXED_64: 8}.get(wire)
            if length is None:
                length, place = _varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            raise ValueError(f"it has a field {number} of type {wire}")
        if place > len(data) or not number:
            raise ValueError("its fields do not fit into it")
        yield number, wire, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for i in range(10):
        if place + i >= len(data):
            raise ValueError("it ends within a number")
        number |= (data[place + i] & 127) << 7 * i
        if data[place + i] < 128:
            return number, place + i + 1
    raise ValueError("it has a number of more than 10 bytes")
