"""Keras' callbacks in several processes that share one folder of checkpoints."""

import inspect
import os
from collections.abc import Iterable
from typing import Any

import keras
from tensorflow.experimental import dtensor

from moe_zoo.processes import is_writer

from .cluster import collective


def fit_together(model: keras.Model, mesh: dtensor.Mesh, *args: Any, **kwargs: Any) -> Any:
    """Run `model.fit` in all processes of a mesh, with callbacks that respect each other.

    Args:
        model: The Keras model.
        mesh: Its mesh.
        *args: As for `fit`.
        **kwargs: As for `fit`.
    """
    call = inspect.signature(type(model).fit).bind(model, *args, **kwargs)
    callbacks = call.arguments.get("callbacks") or []
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.callbacks.insert(0, BarrierAtTrainEnd(mesh))
        share_folders(callbacks.callbacks)
    else:
        callbacks = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
        call.arguments["callbacks"] = [BarrierAtTrainEnd(mesh), *callbacks]
        share_folders(callbacks)
    return type(model).fit(*call.args, **call.kwargs)


class BarrierAtTrainEnd(keras.callbacks.Callback):
    """Waits for all processes at the end of training, before one of them removes checkpoints.

    Args:
        mesh: The mesh of the processes.
    """

    def __init__(self, mesh: dtensor.Mesh):
        super().__init__()
        self.mesh = mesh

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        with collective("the end of training"):
            dtensor.barrier(self.mesh)


def share_folders(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Make the folders of checkpoints, and let the first process alone remove them.

    Keras makes and removes them without regard to other processes.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            os.makedirs(callback.backup_dir, exist_ok=True)
            callback.delete_checkpoint = callback.delete_checkpoint and is_writer()
        elif isinstance(callback, keras.callbacks.ModelCheckpoint):
            folder = os.path.dirname(callback.filepath)
            if folder and "{" not in folder:
                os.makedirs(folder, exist_ok=True)
