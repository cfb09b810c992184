"""Read the lines of text files, with errors that name the file and the line."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from moe_zoo.files import check_file
from moe_zoo.training.tables.bounded_lines import LONGEST_LINE, open_unpacked
from moe_zoo.validation import one_line, shown


def read_lines(path: str | os.PathLike) -> list[str]:
    r"""Read the lines of a UTF-8 file, without line endings; `.gz` files are decompressed.

    Lines end only with `\n` or `\r\n`. Python's `splitlines` also splits at characters such as
    U+2028, which occur inside sentences: the lines of two languages would no longer match.

    Args:
        path: Path of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is not a regular file, is a damaged gzip file, has no text, is not
            UTF-8, or has a line of more than `LONGEST_LINE` bytes.
    """
    path = check_file(path)
    lines: list[str] = []
    with open_unpacked(path) as file:
        while raw := file.readline(LONGEST_LINE + 2):  # with its end
            if not lines:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            lines.append(_line(raw.removesuffix(b"\n"), path, len(lines) + 1))
    if not any(map(str.strip, lines)):
        raise ValueError(
            f"Expected lines of text. Received: {shown(str(path))}, which is empty. Check the path."
        )
    return lines


def _line(raw: bytes, path: Path, number: int) -> str:
    """Decode a line, given its number for errors."""
    if len(raw) > LONGEST_LINE:
        raise ValueError(
            f"Expected lines of at most {LONGEST_LINE:,} bytes. Received: {shown(str(path))}, "
            f"whose line {number} is longer. Check that it is text, and split its lines."
        )
    try:
        return raw.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8. Received: {shown(str(path))}, line {number}, which is not: "
            f"{one_line(error, 200)}. Convert it, for example with iconv."
        ) from error


def share_of(text: str) -> float:
    """Hash a text to a number from 0 to 1, by which texts are split into parts.

    Args:
        text: Text to hash.

    Example:

    >>> 0 <= share_of("a") < 1 and share_of("a") == share_of("a")
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def fingerprint_of(fields: Iterable[str]) -> str:
    """Hash texts and their lengths by SHA-256, in hexadecimal digits."""
    digest = hashlib.sha256()
    for field in fields:
        data = field.encode()
        digest.update(f"{len(data)}\n".encode() + data)
    return digest.hexdigest()
