"""Lines of text files, gzipped or not, with errors that name the file and the line."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from moe_zoo.files import read_file
from moe_zoo.validation import shown


def read_lines(path: str | os.PathLike) -> list[str]:
    r"""Lines of a UTF-8 file, without their ends. A name that ends in `.gz` is decompressed.

    Lines end at `\n` or `\r\n` alone: other characters that Python's `splitlines` takes for an end,
    such as U+2028, stand inside of sentences and would shift the lines of one language against
    those of the other.

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be read, or is no whole gzip file.
        ValueError: If it is no regular file, holds no text, or a line that is not UTF-8.
    """
    path = Path(path)
    data = read_file(path)
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise OSError(
                f"Expected a whole gzip file. Received: {shown(str(path))}, which cannot be read: "
                f"{error}. Download it again."
            ) from error
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not raw[-1]:
        del raw[-1]
    if not any(map(bytes.strip, raw)):
        raise ValueError(
            f"Expected lines of text. Received: {shown(str(path))}, which is empty. Check the path."
        )
    lines = []
    for number, line in enumerate(raw, 1):
        try:
            lines.append(line.decode().removesuffix("\r"))
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Expected text in UTF-8. Received: {shown(str(path))}, line {number}, which is "
                f"not: {error}. Convert it, for example with iconv."
            ) from error
    return lines


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
