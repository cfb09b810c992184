"""Keras' callbacks in several processes that share one folder of checkpoints."""

import inspect
import os

import keras
from tensorflow.experimental import dtensor

from moe_zoo.processes import is_writer

from .cluster import collective


def fit_together(model, mesh, *args, **kwargs):
    """`model.fit` in all processes of a mesh at once, with callbacks kept out of each other's way.

    Args:
        model: the Keras model.
        mesh: its `dtensor.Mesh`.
        *args: as for `fit`.
        **kwargs: as for `fit`.
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
        mesh: a `dtensor.Mesh`.
    """

    def __init__(self, mesh):
        super().__init__()
        self.mesh = mesh

    def on_train_end(self, logs=None):
        with collective("the end of training"):
            dtensor.barrier(self.mesh)


def share_folders(callbacks):
    """Make the folders of checkpoints, and let the first process alone remove them.

    Keras makes and removes them without looking whether another process does so too.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            os.makedirs(callback.backup_dir, exist_ok=True)
            callback.delete_checkpoint = callback.delete_checkpoint and is_writer()
        elif isinstance(callback, keras.callbacks.ModelCheckpoint):
            folder = os.path.dirname(callback.filepath)
            if folder and "{" not in folder:
                os.makedirs(folder, exist_ok=True)
