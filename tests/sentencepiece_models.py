"""SentencePiece models made by hand, field by field of their protocol buffer."""

import struct

UNKNOWN, CONTROL, NORMAL = 2, 3, 1
SPACE = "\u2581"


def varint(number):
    number &= (1 << 64) - 1  # -1 has ten bytes
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def make_model(pieces, special=("<pad>", "</s>", "<unk>")):
    """A unigram model in T5's form: special pieces, then `pieces` with falling scores."""
    kinds = {"<unk>": UNKNOWN}
    entries = [(name, 0.0, kinds.get(name, CONTROL)) for name in special]
    entries += [(piece, -1.0 - i / 8, NORMAL) for i, piece in enumerate(pieces)]
    content = b""
    for piece, score, kind in entries:
        content += field(1, field(1, piece) + field(2, score) + field(3, kind))
    trainer = field(3, 1) + field(40, special.index("<unk>")) + field(41, -1)  # 1: unigram
    trainer += field(42, special.index("</s>")) + field(43, special.index("<pad>"))
    normalizer = field(1, "identity") + field(3, 1) + field(4, 1) + field(5, 1)
    return content + field(2, trainer) + field(3, normalizer)


def toy_model():
    words = [f"{SPACE}the", f"{SPACE}cat", SPACE, "s", "at", f"{SPACE}on", "é"]
    return make_model([*words, *"acehotn"])
