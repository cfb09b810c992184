"""Digests, by which damaged files are found when they are read."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

from moe_zoo.validation import shown

from .atomic import check_file, read_file, write_file

DIGEST = "sha256"  # the key of a JSON file's own digest
DIGESTS = "digests.json"


def digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with open(check_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | os.PathLike, values: dict) -> None:
    """Write a JSON file that appears when it is complete, with the digest of its values."""
    write_file(path, json.dumps({**values, DIGEST: _digest(values)}, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> dict | None:
    """Read what `write_json` wrote, or `None` if there is no such file.

    Raises:
        ValueError: If the file is damaged, was edited, or has no digest.
    """
    try:
        text = read_file(path)
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        expected = values.pop(DIGEST)
        found = _digest(values)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _damaged(path, "is no JSON file with a digest") from error
    if found != expected:
        raise _damaged(path, "does not match its digest")
    return values


def write_digests(folder: str | os.PathLike) -> None:
    """Write the digests of all files of a folder into `digests.json` there."""
    folder = Path(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / DIGESTS, {x.relative_to(folder).as_posix(): digest(x) for x in files})


def check_digests(folder: str | os.PathLike) -> None:
    """Compare the files of a folder with the digests that `write_digests` has written.

    Raises:
        ValueError: If a file was changed or removed since, or there are no digests.
    """
    written = read_json(Path(folder, DIGESTS))
    if written is None:
        raise ValueError(f"it has no {DIGESTS}")
    for name, expected in written.items():
        path = Path(folder, name)
        if not path.is_file() or digest(path) != expected:
            raise ValueError(f"its {shown(name)} is not as it was written")


def check_archive(path: str | os.PathLike) -> None:
    """Compare the parts of a zip archive, such as a `.keras` file, with their checksums.

    Keras does not: it loads weights that are damaged.

    Raises:
        ValueError: If a part was changed.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"its part {shown(damaged)} is not as it was written")


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _damaged(path: str | os.PathLike, what: str) -> ValueError:
    return ValueError(
        f"Expected a file as it was written. Received: {shown(str(path))}, which {what}: it is "
        "damaged, was edited, or is of an earlier release. Restore it, or delete it and start the "
        "training again with the same command, which writes it anew."
    )
