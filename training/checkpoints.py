"""Checkpoints from which a killed run goes on as if it never had been."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import keras

MODEL, HISTORY = "model.keras", "history.json"


class Checkpoints(keras.callbacks.Callback):
    """Saves model, optimizer, seeds and history at the end of every epoch, as one folder that appears when complete.

    A folder `step-00000300` holds the state after 300 training steps. Only the newest is kept.

    Args:
        folder: where the folders go.
        steps_per_epoch: `int`.
        history: `list` of the epochs' logs so far; the callback appends to it.
    """

    def __init__(self, folder, steps_per_epoch, history):
        super().__init__()
        self.folder = Path(folder)
        self.steps_per_epoch = steps_per_epoch
        self.history = history
        self.folder.mkdir(parents=True, exist_ok=True)
        for scratch in self.folder.glob(".step-*"):  # of a run that was killed while it saved
            shutil.rmtree(scratch)

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        step = (epoch + 1) * self.steps_per_epoch
        try:
            self._save(self.folder / f"step-{step:08d}")
        except OSError as error:
            raise OSError(
                f"The checkpoint of step {step} could not be written to {str(self.folder)!r}: {error}. The one before it is "
                "whole: make room, and the same command goes on from there."
            ) from error

    def _save(self, target):
        with tempfile.TemporaryDirectory(
            prefix=".step-", dir=self.folder, ignore_cleanup_errors=True
        ) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            self.model.save(new / MODEL)
            (new / HISTORY).write_text(json.dumps(self.history), encoding="utf-8")
            os.replace(new, target)
        for old in _complete(self.folder)[:-1]:
            # Renamed first: a run that is killed here must not find half a checkpoint.
            with contextlib.suppress(OSError):
                shutil.rmtree(old.rename(old.with_name(f".{old.name}")))


def latest_checkpoint(folder):
    """The newest complete checkpoint.

    Args:
        folder: of `Checkpoints`.

    Returns:
        `(model, step, history)`, or `None` if there is no checkpoint.
    """
    found = _complete(Path(folder))
    if not found:
        return None
    model = keras.models.load_model(found[-1] / MODEL)
    history = json.loads((found[-1] / HISTORY).read_text(encoding="utf-8"))
    return model, int(found[-1].name.removeprefix("step-")), history


def _complete(folder):
    return sorted(x for x in folder.glob("step-*") if re.fullmatch(r"step-\d+", x.name))
