"""Lines of text files, gzipped or not, with errors that name the file and the line."""

import hashlib
import os
from collections.abc import Iterable

from moe_zoo.files import check_file
from moe_zoo.training.tables.bounded_lines import LONGEST_LINE, open_unpacked
from moe_zoo.validation import one_line, shown


def read_lines(path: str | os.PathLike) -> list[str]:
    r"""Lines of a UTF-8 file, without their ends. A name that ends in `.gz` is decompressed.

    Lines end at `\n` or `\r\n` alone: other characters that Python's `splitlines` takes for an end,
    such as U+2028, stand inside of sentences and would shift the lines of one language against
    those of the other.

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no regular file, no whole gzip file, holds no text, a line that is not
            UTF-8, or one of more than `LONGEST_LINE` bytes.
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


def _line(raw, path, number):
    """A line of bytes as text."""
    if len(raw) > LONGEST_LINE:
        raise ValueError(
            f"Expected lines of at most {LONGEST_LINE:,} bytes. Received: {shown(str(path))}, "
            f"whose line {number} is longer. Is it text? Its lines have to end."
        )
    try:
        return raw.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8. Received: {shown(str(path))}, line {number}, which is not: "
            f"{one_line(error, 200)}. Convert it, for example with iconv."
        ) from error


def share_of(text: str) -> float:
    """A number from 0 to 1 that is a function of the text alone, to split texts into parts by.

    Example:

    >>> 0 <= share_of("a") < 1 and share_of("a") == share_of("a")
    True
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def fingerprint_of(fields: Iterable[str]) -> str:
    """SHA-256 of texts and their borders, in hexadecimal digits."""
    digest = hashlib.sha256()
    for field in fields:
        data = field.encode()
        digest.update(f"{len(data)}\n".encode() + data)
    return digest.hexdigest()
