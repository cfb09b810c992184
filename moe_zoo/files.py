"""Folders that appear under their name when they are complete."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def new_folder(path):
    """A folder to fill, which takes its place at the end, also that of an earlier folder.

    If filling it or moving it fails, what was there stays.

    Args:
        path: its place.

    Yields:
        `Path` to write to: not made yet, beside its place.

    Example:

    >>> with tempfile.TemporaryDirectory() as place:
    ...     with new_folder(f"{place}/model") as folder:
    ...         folder.mkdir()
    ...         _ = (folder / "weights").write_text("1 2 3")
    ...     Path(place, "model", "weights").read_text()
    '1 2 3'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        yield new
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(new, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
