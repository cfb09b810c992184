"""Files of public data sets: find them or download them."""

import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from moe_zoo.files import new_file
from moe_zoo.files.digests import digest
from moe_zoo.validation import shown

TIMEOUT_SECONDS = 60
VARIABLE = "MOE_ZOO_DATA"


def data_folder(name: str) -> Path:
    """Return the folder of a data set: `$MOE_ZOO_DATA/name`, else `~/.cache/moe_zoo/name`."""
    root = os.environ.get(VARIABLE)
    return (Path(root) if root else Path("~/.cache/moe_zoo")).expanduser() / name


def find_data(name: str, path: str | os.PathLike | None) -> Path:
    """Return the folder of a data set.

    Args:
        name: Name of the data set's folder.
        path: That folder or its parent. By default `data_folder(name)`, whether it exists or not.

    Returns:
        `Path` of the folder.

    Raises:
        FileNotFoundError: If `path` is given and is not a folder.
    """
    if path is None:
        return data_folder(name)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected the folder of {name}. Received: path={shown(str(path))}, which is no "
            f"folder. Check it, or leave it out to use ${VARIABLE} or a download."
        )
    return folder / name if (folder / name).is_dir() else folder


def find_one(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of some files that a folder has, or `None`."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def download(
    url: str,
    path: str | os.PathLike,
    sha256: str | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Download a file unless it exists, and move it into place when its checks pass.

    Args:
        url: Address of the file.
        path: Destination; its folders are made.
        sha256: Expected hash in hexadecimal digits; `None` if the publisher states none.
        check: Function of the path of the fetched file that raises an error to reject it.

    Returns:
        `path`.

    Raises:
        ConnectionError: If the file cannot be fetched.
        ValueError: If the file is not the expected one.
    """
    path = Path(path)
    if path.is_file():
        return path
    with new_file(path) as scratch:
        _fetch(url, scratch)
        if sha256 is not None and (found := digest(scratch)) != sha256:
            raise ValueError(
                f"Expected a file of SHA-256 {sha256}. Received: {url} with {found}. The download "
                f"was cut off or the file has changed: try again, or put a copy at {path} yourself."
            )
        if check is not None:
            check(scratch)
    return path


def _fetch(url: str, path: Path) -> None:
    """Write the content of `url` to `path`."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, open(path, "wb") as f:
            shutil.copyfileobj(answer, f)
            length = answer.headers.get("Content-Length")
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ConnectionError(
            f"Expected to fetch {url}. Received: {error}. Without a connection, get the file "
            f"elsewhere and give the folder that holds it, or set ${VARIABLE} to the folder of all "
            "data sets."
        ) from error
    if length is not None and path.stat().st_size != int(length):
        raise ConnectionError(
            f"Expected {length} bytes from {url}. Received: {path.stat().st_size}, then the "
            "connection broke off. Try again."
        )
