"""Saving from several processes: all of them read, the first one writes."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorflow.experimental import dtensor

from moe_zoo.files import check_place
from moe_zoo.files.scratch import move_into_place, scratch_folder
from moe_zoo.processes import is_writer
from moe_zoo.validation import shown

from .cluster import collective


def save_together(
    save: Callable[..., Any],
    mesh: dtensor.Mesh,
    filepath: str | os.PathLike,
    overwrite: bool = True,
    **options: Any,
) -> None:
    """Save a model in all processes of its mesh at once; afterwards the file is complete.

    The first process replaces an earlier file when the new one is whole. The others save into a
    folder that they remove, since reading a variable that is spread needs all of them, in the same
    order.

    Args:
        save: The model's own `save` or `save_weights`.
        mesh: Its mesh.
        filepath: File or folder to write, as for `save`.
        overwrite: Whether an earlier file may be replaced; here Keras cannot ask.
        **options: As for `save`.

    Raises:
        FileExistsError: If there is an earlier file that may not be replaced.
        WorkerLostError: If another process does not save with this one.
    """
    path = Path(filepath)
    if not overwrite:
        exists = path.exists()
        with collective(f"looking for {path}"):
            dtensor.barrier(mesh)  # all have looked before the first one writes
        if exists:
            raise FileExistsError(
                "Expected a path that is free, or overwrite=True. Received: "
                f"filepath={shown(str(path))}. Remove it, or choose another name."
            )
    if is_writer():
        place = check_place(path, folder=path.is_dir())
        with scratch_folder(place.parent) as scratch:
            save(scratch / place.name, **options)
            for file in scratch.iterdir():  # shards too
                move_into_place(file, place.with_name(file.name))
    else:
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder, path.name), **options)
    with collective(f"the end of saving {path}"):
        dtensor.barrier(mesh)
