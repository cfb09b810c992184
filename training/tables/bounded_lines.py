"""Read text files line by line with a limit, so that one line cannot fill the memory."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from moe_zoo.validation import shown

LONGEST_LINE = 2**24  # bytes: a header of a million columns has some 10 million
CHUNK = 2**16
WIDE = ("utf16", "utf32", "u16", "u32")  # encodings in which a letter holds a NUL byte


@contextlib.contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open the bytes of a file, decompressed as they are read if its name ends in `.gz`.

    Args:
        path: Path of the file.

    Yields:
        The open file.

    Raises:
        ValueError: While the file is read, if it is not a whole gzip file.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"Expected a whole gzip file. Received: {shown(str(path))}, which breaks off or is no "
            f"gzip file: {error}. Fetch the file again."
        ) from error


class BoundedLines(io.RawIOBase):
    """The bytes of a text file, whose lines have a largest length.

    Args:
        file: An open binary file.
        path: Path of the file, for errors.
        encoding: Encoding of its text.

    Raises:
        ValueError: While the file is read, if a line is longer than `LONGEST_LINE` or has a NUL
            byte, as in binary files, and in UTF-16 that is read as another encoding.
    """

    def __init__(self, file: Any, path: Path, encoding: str):
        self._file, self._path = file, path
        self._wide = encoding.lower().replace("-", "").replace("_", "").startswith(WIDE)
        self._lines, self._length = 0, 0  # lines that have ended, bytes of the one that has not

    def readable(self) -> bool:
        """Return True, as every readable file does."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes, and return their number."""
        data = self._file.read(min(len(buffer), CHUNK))
        buffer[: len(data)] = data
        if not self._wide and (nul := data.find(b"\0")) >= 0:
            line = self._lines + data.count(b"\n", 0, nul) + 1
            raise ValueError(
                f"Expected text. Received: {shown(str(self._path))}, which has a NUL byte in line "
                f"{line}. Is it a binary file, or text in UTF-16? Then give encoding='utf-16'."
            )
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._lines += data.count(b"\n")
        self._length = len(data) - 1 - end + (self._length if end < 0 else 0)
        if self._length > LONGEST_LINE:
            raise ValueError(
                f"Expected lines of at most {LONGEST_LINE:,} bytes. Received: "
                f"{shown(str(self._path))}, whose line {self._lines + 1} is longer. Check that the "
                "file is a table in text, with ends of lines."
            )
        return len(data)
