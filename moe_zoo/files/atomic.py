"""Files and folders that appear under their name when they are complete.

Whatever this library writes, it writes into a scratch folder next to the destination, flushes to
the disk, and moves into place in one step. Another process sees the old content or the new one, and
so does one that starts after a crash. A link is followed: its target is replaced, and the link
stays. Only regular files and folders are written and read: a named pipe may keep its reader waiting
forever, and a device may have no end.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from moe_zoo.validation import shown

from .scratch import move_into_place, scratch_folder

KINDS = {
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFREG: "a file",
    stat.S_IFSOCK: "a socket",
}


def check_place(path: str | os.PathLike, folder: bool = False) -> Path:
    """Refuse a path that stands for something that must not be replaced.

    Args:
        path: Destination of a file, which may exist.
        folder: Whether a folder is to go there.

    Returns:
        The path with all links followed.

    Raises:
        ValueError: If the path is empty or holds NUL; if a device, named pipe or socket is there, a
            folder in place of a file, or a file in place of a folder; if the path is longer than
            the system takes, or the file, the folder or the one around it has no permission to
            write.
    """
    if not str(path) or "\0" in str(path):  # `Path("")` is the current folder
        raise ValueError(
            f"Expected a path of one letter or more, without NUL. Received: path={shown(str(path))}"
            ". Choose another path."
        )
    place = Path(os.path.realpath(path))
    if found := _in_the_way(path, place, folder):
        raise ValueError(
            f"Expected a new {'folder' if folder else 'file'}, or one to replace. Received: "
            f"path={shown(str(path))}, which is {found}. Choose another path."
        )
    return place


def _in_the_way(path: str | os.PathLike, place: Path, folder: bool) -> str:
    """Return what must not be replaced, in words; empty if nothing is in the way."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError as error:
        if os.path.islink(place):
            return "a link that leads in a circle"
        if error.errno == errno.ENAMETOOLONG:
            return "longer than the system takes"
        return _unwritable_around(place)
    if kind != (stat.S_IFDIR if folder else stat.S_IFREG):
        return _in_words(kind)
    if not place.exists():  # such as /dev/stdout
        return "a link to an open file without a name"
    if not os.access(place, os.W_OK):
        return f"{_in_words(kind)} without permission to write"
    return "" if folder else _unwritable_around(place)


def _unwritable_around(place: Path) -> str:
    """Return why nothing can be made at a place, in words; empty if it can."""
    around = next(parent for parent in place.parents if os.path.lexists(parent))
    if not around.is_dir():
        return f"inside {shown(str(around))}, which is no folder"
    if not os.access(around, os.W_OK | os.X_OK):
        return f"inside {shown(str(around))}, a folder without permission to write"
    return ""


def _in_words(kind: int) -> str:
    return KINDS.get(kind, "neither a file nor a folder")


def check_file(path: str | os.PathLike) -> Path:
    """Refuse a path to read that stands for something else than a file.

    Args:
        path: A file, or a link to one.

    Returns:
        The path.

    Raises:
        OSError: If there is no such file.
        ValueError: If a folder, device, named pipe or socket is there.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(
            f"Expected a file to read. Received: path={shown(str(path))}, which is "
            f"{_in_words(kind)}. Write what it gives to a file first."
        )
    return Path(path)


def read_file(path: str | os.PathLike) -> bytes:
    """Return the bytes of a file; raises as `check_file` does."""
    return check_file(path).read_bytes()


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file within this context; it replaces an earlier one at the end.

    If writing or moving it fails, the earlier file stays.

    Args:
        path: Destination. Folders around it are made, a link is followed.

    Yields:
        `Path` to write to, of the same name. The folder around it is scratch too.

    Raises:
        ValueError: As `check_place`.
        OSError: If it cannot be written.
    """
    place = check_place(path)
    with scratch_folder(place.parent) as scratch:
        yield scratch / place.name
        move_into_place(scratch / place.name, place)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Fill a folder within this context; it replaces an earlier one at the end.

    If filling or moving it fails, the earlier folder stays.

    Args:
        path: Destination. Folders around it are made, a link is followed.

    Yields:
        `Path` to write to: not made yet, next to its destination.

    Raises:
        ValueError: As `check_place`.
        OSError: If it cannot be written.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with new_folder(f"{place}/model") as folder:
    ...         folder.mkdir()
    ...         _ = (folder / "weights").write_text("1 2 3")
    ...     Path(place, "model", "weights").read_text()
    '1 2 3'
    """
    place = check_place(path, folder=True)
    with scratch_folder(place.parent) as scratch:
        yield scratch / place.name
        move_into_place(scratch / place.name, place)


def write_file(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file of bytes, or of text as UTF-8, as `new_file` does."""
    with new_file(path) as file:
        file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def remove_folder(path: str | os.PathLike) -> None:
    """Remove a folder: it is gone as a whole, or there as a whole."""
    path = Path(path)
    with scratch_folder(path.parent) as scratch:
        os.replace(path, scratch / path.name)
