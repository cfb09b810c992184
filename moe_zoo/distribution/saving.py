"""Saving from several processes: all of them read, the first one writes."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tensorflow.experimental import dtensor

from .cluster import collective, is_writer


def save_together(save, mesh, filepath, overwrite=True, **options):
    """Save a model, in all processes of its mesh at once; afterwards the file is complete.

    The first process replaces an earlier file when the new one is whole. The others save into a
    folder that they remove, since reading a variable that is spread needs all of them, in the same
    order.

    Args:
        save: the model's own `save` or `save_weights`.
        mesh: its `dtensor.Mesh`.
        filepath: file or folder to write, as for `save`.
        overwrite: whether an earlier file may be replaced; here Keras cannot ask.
        **options: as for `save`.

    Raises:
        FileExistsError: there is an earlier file, and it may not be replaced.
        WorkerLostError: another process does not save with this one.
    """
    path = Path(filepath)
    if not overwrite and is_writer() and path.exists():
        raise FileExistsError(
            f"Expected a path that is free, or overwrite=True. Received: filepath={str(path)!r}. "
            "Remove it, or choose another name."
        )
    with scratch_folder(path) as scratch:
        save(scratch / path.name, **options)
        if is_writer():
            move_into(scratch, path.parent)
    with collective(f"the end of saving {path}"):
        dtensor.barrier(mesh)


@contextlib.contextmanager
def scratch_folder(path):
    """A folder that goes away: beside the path in the process that writes, else anywhere."""
    if not is_writer():
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    scratch = path.with_name(f".{path.name}.partial")  # what a killed run left is replaced
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move_into(source, target):
    """Move everything from one folder to another on the same disk, over what is there."""
    for new in source.iterdir():
        old = target / new.name
        if old.is_dir():
            shutil.rmtree(old)
        os.replace(new, old)
