"""Scratch folders next to a destination, and the step that moves their content into place."""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .locks import Lock

PREFIX = ".moe-zoo"  # of what this library keeps next to the user's files
SCRATCH = f"{PREFIX}-"
PARTS = ("new", "old")
NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@contextlib.contextmanager
def scratch_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """Make a folder inside `parent` for this context.

    After a crash the next scratch folder that is made there removes it.

    Args:
        parent: Folder on the disk to write to, made if it is missing.

    Yields:
        `Path` of an empty folder, for what `move_into_place` takes.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    clean(parent)
    outer, lock = _locked_folder(parent)
    try:
        for name in PARTS:
            (outer / name).mkdir()
        yield outer / "new"
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        lock.release()


def move_into_place(new: Path, place: Path) -> None:
    """Move a complete file or folder from a scratch folder to its place, and flush it to the disk.

    Args:
        new: File or folder inside what `scratch_folder` gives.
        place: As `check_place` returns it, next to that scratch folder.
    """
    if place.exists():
        new.chmod(stat.S_IMODE(place.stat().st_mode))
    _to_disk(new)
    if new.is_dir() and place.exists():
        old = new.parent.with_name("old") / place.name
        if not _exchange(new, place):
            # A process that ends between the two leaves it to `clean`.
            os.replace(place, old)
            try:
                os.replace(new, place)
            except BaseException:
                os.replace(old, place)
                raise
    else:
        os.replace(new, place)
    _folder_to_disk(place.parent)


def clean(parent: str | os.PathLike) -> None:
    """Remove the scratch folders of processes that have ended, and finish moves they had begun.

    Such a folder holds nothing but what `scratch_folder` makes, and its lock is free. On a file
    system without locks all stay.
    """
    for outer in Path(parent).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if outer.is_symlink() or {path.name for path in outer.iterdir()} - {"lock", *PARTS}:
                continue
            lock = Lock(outer / "lock")
            if lock.held:
                for old in outer.glob("old/*"):
                    # It had to make room for a folder that was complete.
                    place, new = outer.parent / old.name, outer / "new" / old.name
                    if not os.path.lexists(place):
                        os.replace(new if new.exists() else old, place)
                shutil.rmtree(outer, ignore_errors=True)
            lock.release()


def _locked_folder(parent: Path) -> tuple[Path, Lock]:
    while True:
        outer = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            return outer, Lock(outer / "lock")
        # Another process has taken it for one that was left behind.


def _exchange(new: Path, place: Path) -> bool:
    """Give two folders each other's place in one step; false if the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    current, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(current, os.fsencode(new), current, os.fsencode(place), exchange) == 0:
        return True
    if (code := ctypes.get_errno()) in NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(new), None, str(place))


def _to_disk(path: Path) -> None:
    if path.is_dir():
        for part in path.iterdir():
            _to_disk(part)
        _folder_to_disk(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder_to_disk(path: Path) -> None:
    with contextlib.suppress(OSError):  # not all systems can
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
