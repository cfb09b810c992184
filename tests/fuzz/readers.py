"""Damaged files of every kind that is read: the same values, others, or an error in words.

A case is a kind of file, a valid one of it, and a few damages. It is right if reading it gives what
a file of that kind may hold, and refused if the error names the file and what is wrong. A crash, a
hang, another kind of error or an endless message is unclear; the runner sees the first two.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np

from fuzz.file_kinds import KINDS
from fuzz.verdict import REFUSED, RIGHT, UNCLEAR, Verdict, of_error

INTERESTING = (
    b"\x00",
    b"\x11",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"'",
    b"{",
    b"[" * 300,
    b"}",
    b",",
    b"\n",
    b"\r",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 40,
    b"null",
    b"true",
    b"&a [*a]",
    b"!!python/object:os.system",
    b"\xed\xa0\x80",
)


def draw(rng) -> dict:
    """A case: the kind of file, and seeds from which the file and its damages follow."""
    return {"kind": str(rng.choice(list(KINDS))), "seed": int(rng.integers(2**31))}


def check(case) -> Verdict:
    """Write the damaged file and read it."""
    rng = np.random.default_rng(case["seed"])
    name, _, read = KINDS[case["kind"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(damaged(whole(case["kind"]), rng))
        try:
            read(path)
        except Exception as error:
            verdict = of_error(error)
            if verdict.kind == REFUSED and folder not in verdict.detail:
                return Verdict(UNCLEAR, f"does not name the file: {verdict.detail}")
            return verdict
    return Verdict(RIGHT)


@functools.cache
def whole(kind) -> bytes:
    """A valid file of a kind."""
    name, make, _ = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        make(path)
        return path.read_bytes()


def damaged(data: bytes, rng) -> bytes:
    """One to three damages: bits, bytes, pieces that are cut, doubled, overwritten or put in."""
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(data) + 1))
        end = min(len(data), place + int(rng.integers(1, 20)))
        match int(rng.integers(7)):
            case 0 if data:
                place = min(place, len(data) - 1)
                flipped = bytes([data[place] ^ (1 << int(rng.integers(8)))])
                data = data[:place] + flipped + data[place + 1 :]
            case 1:
                data = data[:place]
            case 2:
                data = data[:place] + data[end:]
            case 3:
                data = data[:place] + data[place:end] * int(rng.choice([2, 3, 500])) + data[end:]
            case 4:
                data = data[:place] + INTERESTING[rng.integers(len(INTERESTING))] + data[end:]
            case 5:
                data = data[:place] + rng.bytes(end - place) + data[end:]
            case _:
                data = data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]
    return data
