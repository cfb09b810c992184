"""Files and folders that appear under their name when they are complete.

Whatever this library writes, it writes into a scratch folder beside the place, brings to the disk,
and moves into place in one step. Another process sees what was there before or what is there now,
and so does one that starts after a crash. A link is followed: what it points to is replaced, and
the link stays. What is neither a regular file nor a folder is refused.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .scratch import move_into_place, scratch_folder
from .validation import shown

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
        path: Where a file is to go, there or not.
        folder: Whether a folder is to go there.

    Returns:
        The path with all links followed.

    Raises:
        ValueError: If the path is empty or holds NUL; if a device, named pipe or socket is there, a
            folder in place of a file, a file in place of a folder, or a file without permission to
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
    """What must not be replaced, in words; empty if nothing is there, or what may be."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        if os.path.islink(place):
            return "a link that leads in a circle"
        around = next(parent for parent in place.parents if os.path.lexists(parent))
        return "" if around.is_dir() else f"inside {shown(str(around))}, which is no folder"
    if kind != (stat.S_IFDIR if folder else stat.S_IFREG):
        return KINDS.get(kind, "neither a file nor a folder")
    if not place.exists():  # such as /dev/stdout
        return "a link to an open file without a name"
    return "" if folder or os.access(place, os.W_OK) else "a file without permission to write"


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """A file to write, which takes its place at the end, also that of an earlier file.

    If writing it or moving it fails, what was there stays.

    Args:
        path: Its place. Folders around it are made, a link is followed.

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
    """A folder to fill, which takes its place at the end, also that of an earlier folder.

    If filling it or moving it fails, what was there stays.

    Args:
        path: Its place. Folders around it are made, a link is followed.

    Yields:
        `Path` to write to: not made yet, beside its place.

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
