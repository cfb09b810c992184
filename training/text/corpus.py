"""Read the text to train on: the source of Python's standard library, or files of the user."""

import hashlib
import os
import sysconfig
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, NoReturn

from moe_zoo.files import read_file
from moe_zoo.validation import shown

TRAIN_SHARE, VALIDATION_SHARE = 0.90, 0.05  # the test part gets the rest
MINIMUM_CHARACTERS = 2_000
MINIMUM_LIBRARY_CHARACTERS = 1_000_000
# Folders that differ between installations of a Python version, or are not part of the library.
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
NOT_LIBRARY_PREFIXES = ("config-", "_sysconfigdata", "sitecustomize", "usercustomize", ".")
# Chosen only so that the parts have about 90, 5 and 5 percent on Python 3.10 to 3.13.
SALT = "9:"


class Document(NamedTuple):
    """A text and the name of its file, with `/` between folders."""

    name: str
    text: str


Parts = tuple[tuple[Document, ...], ...]  # of training, validation and test


@dataclass(frozen=True)
class Corpus:
    """Documents in three parts that share no text.

    Attributes:
        train: Documents for training, about 90 percent of the characters.
        validation: Documents for validation, about 5 percent.
        test: Documents for the final evaluation, about 5 percent.
        skipped: Names of the files that were skipped because they are not UTF-8 text.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    skipped: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Hash all parts, names and texts, by SHA-256, in hexadecimal digits."""
        digest = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            digest.update(f"part of {len(part)}\n".encode())
            for document in part:
                for field in document:
                    data = field.encode()
                    digest.update(f"{len(data)}\n".encode() + data)
        return digest.hexdigest()


def read_corpus(path: str | os.PathLike | None = None) -> Corpus:
    r"""Read a text as a training, a validation and a test part; the split is always the same.

    Without `path` the text is the source of Python's standard library: about 11 MB of code,
    docstrings and help topics that every installation has, without the library's tests and
    installed packages. Files are read, never imported. A hash of its name decides the part of each
    file, so a Python version always gives the same split.

    A folder of many files is split by file, as the library is. If such a split would be unbalanced,
    and for a single file, each file is cut at the ends of lines: the first 90 percent are for
    training, the next 5 for validation, and the last 5 for the test.

    Args:
        path: Text file, or a folder that is searched for UTF-8 text files of any name, except
            hidden ones. `None` for Python's standard library.

    Returns:
        A `Corpus`.

    Raises:
        FileNotFoundError: If `path` does not exist, or if this Python has no source files.
        PermissionError: If a file or folder may not be read.
        ValueError: If `path` is a device or a pipe, is binary, is not UTF-8, is empty, or is too
            short.

    Example:

    >>> corpus = read_corpus()
    >>> sum(len(document.text) for document in corpus.train) > 8_000_000
    True
    """
    if path is None:
        return _read_library(Path(sysconfig.get_path("stdlib")))
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a text file or a folder of text files. Received: path={shown(str(path))}, "
            "which does not exist. Check the path, or leave it out to train on Python's standard "
            "library."
        )
    if path.is_dir():
        documents, skipped = _collect(path, _walk(path, set(), (".",)), _read_text)
    else:
        documents, skipped = [Document(path.name, _read_text(path))], []
    _check_length(path, documents, skipped)
    parts = _split_by_file(documents)
    if not _is_balanced(parts):
        parts = _split_by_length(documents)
    train, validation, test = parts
    return Corpus(train, validation, test, tuple(skipped))


def _read_library(folder: Path) -> Corpus:
    files: Iterable[Path] = ()
    if folder.is_dir():  # not a zip archive
        files = _walk(folder, NOT_LIBRARY, NOT_LIBRARY_PREFIXES)
    sources = (path for path in files if path.suffix == ".py")
    documents, skipped = _collect(folder, sources, _read_source)
    characters = sum(len(document.text) for document in documents)
    if characters < MINIMUM_LIBRARY_CHARACTERS:
        raise FileNotFoundError(
            "Expected the sources of Python's standard library as .py files. Received: "
            f"folder={shown(str(folder))} with {characters:,} characters in such files. This "
            "Python keeps its library in a zip archive or without sources: give your own text."
        )
    train, validation, test = _split_by_file(documents)
    return Corpus(train, validation, test, tuple(skipped))


def _walk(folder: Path, excluded: set[str], prefixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, except excluded names and prefixes."""
    for parent, folders, files in os.walk(folder, onerror=_stop):
        folders[:] = [f for f in folders if f not in excluded and not f.startswith(prefixes)]
        yield from (Path(parent, f) for f in files if not f.startswith(prefixes))


def _stop(error: OSError) -> NoReturn:
    """Raise the error, since `os.walk` would skip a folder that it cannot read."""
    raise error


def _collect(
    folder: Path, paths: Iterable[Path], read: Callable[[Path], str]
) -> tuple[list[Document], list[str]]:
    """Return the documents in the order of their names, and the names of files without text."""
    documents, skipped = [], []
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in paths):
        try:
            text = read(path) if path.is_file() else ""
        except (ValueError, SyntaxError):  # binary, not UTF-8, or a wrong encoding declaration
            skipped.append(name)
            continue
        if text:
            documents.append(Document(name, text))
    return documents, skipped


def _read_source(path: Path) -> str:
    with tokenize.open(path) as file:  # uses the encoding that the source declares
        return file.read()


def _read_text(path: Path) -> str:
    data = read_file(path)
    if b"\0" in data:
        raise ValueError(
            f"Expected a text file. Received: path={shown(str(path))}, which is binary (it holds "
            "NUL bytes). Give plain text, for example a .txt file."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8. Received: path={shown(str(path))}, which is not: {error}. "
            "Convert it to UTF-8, for example with iconv."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_length(path: Path, documents: list[Document], skipped: list[str]) -> None:
    characters = sum(len(document.text) for document in documents)
    if characters >= MINIMUM_CHARACTERS:
        return
    left_out = f" (skipped because they are not text: {', '.join(skipped[:5])})" if skipped else ""
    raise ValueError(
        f"Expected at least {MINIMUM_CHARACTERS:,} characters of text. Received: "
        f"path={shown(str(path))} with {characters:,} characters{left_out}. Give more text: a "
        "useful model needs a million characters or more."
    )


def _split_by_file(documents: list[Document]) -> Parts:
    parts: list[list[Document]] = [[], [], []]
    for document in documents:
        digest = hashlib.sha256((SALT + document.name).encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        parts[(share >= TRAIN_SHARE) + (share >= TRAIN_SHARE + VALIDATION_SHARE)].append(document)
    return tuple(map(tuple, parts))


def _is_balanced(parts: Parts) -> bool:
    sizes = [sum(len(document.text) for document in part) for part in parts]
    return sizes[0] >= 0.8 * sum(sizes) and min(sizes[1:]) >= 0.02 * sum(sizes)


def _split_by_length(documents: list[Document]) -> Parts:
    parts: list[list[Document]] = [[], [], []]
    for name, text in documents:
        first, second = (int(len(text) * s) for s in (TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE))
        cuts = [0, _end_of_line(text, first, second), _end_of_line(text, second, len(text) - 1)]
        for part, begin, end in zip(parts, cuts, [*cuts[1:], len(text)], strict=True):
            if begin < end:
                part.append(Document(name, text[begin:end]))
    return tuple(map(tuple, parts))


def _end_of_line(text: str, begin: int, limit: int) -> int:
    """Return the first start of a line after `begin`, or `begin` if there is none by `limit`."""
    return text.find("\n", begin, limit) + 1 or begin
