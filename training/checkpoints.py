"""Checkpoints from which a killed run goes on as if it never had been."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import keras

from .run_folder import differences

MODEL, STATE = "model.keras", "state.json"


class Checkpoints(keras.callbacks.Callback):
    """Saves model, optimizer, seeds and history after every epoch, as a folder that appears whole.

    A folder `step-00000300` holds the state after 300 training steps. Only the newest is kept.

    Args:
        folder: where the folders go.
        steps_per_epoch: `int`.
        description: `dict` of JSON values that decide the run's result, as in `RunFolder`.
        writes: `bool`; else another process writes, and this one takes part in reading the weights.

    Attributes:
        history: `list` of the logs of all epochs so far, those before `restore` included.
    """

    def __init__(self, folder, steps_per_epoch, description, writes=True):
        super().__init__()
        self.folder = Path(folder)
        self.writes = writes
        self.description = description
        self.steps_per_epoch = steps_per_epoch
        self.history = []
        self.folder.mkdir(parents=True, exist_ok=True)
        # Of a run that was killed while it saved.
        for scratch in self.folder.glob(".step-*") if writes else ():
            shutil.rmtree(scratch)

    def restore(self):
        """The model of the newest checkpoint, and its step; `(None, 0)` if there is no checkpoint.

        Raises:
            ValueError: the checkpoint is damaged, or of another run.
        """
        complete = self._complete()
        if not complete:
            return None, 0
        newest = complete[-1]
        try:
            model = keras.models.load_model(newest / MODEL)
            state = json.loads((newest / STATE).read_text(encoding="utf-8"))
            self.history, description = state["history"], state["run"]
            for seed, value in zip(_seeds(model), state["seeds"], strict=True):
                seed.assign(value)
        except Exception as error:  # whatever a damaged file makes the libraries raise
            raise ValueError(
                f"Expected a whole checkpoint. Received: {str(newest)!r}, which cannot be read: "
                f"{error}. Delete that folder, and the same command trains from the start."
            ) from error
        if different := differences(description, self.description):
            raise ValueError(
                f"Expected a checkpoint of this run. Received: {str(newest)!r}, which is of "
                f"another one ({different}). Move it away, and the same command trains from "
                "the start."
            )
        return model, int(newest.name.removeprefix("step-"))

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        step = (epoch + 1) * self.steps_per_epoch
        try:
            self._save(self.folder / f"step-{step:08d}")
        except OSError as error:
            raise OSError(
                f"The checkpoint of step {step} could not be written to {str(self.folder)!r}: "
                f"{error}. The one before it is whole: make room, and the same command goes on "
                "from there."
            ) from error

    def _save(self, target):
        with tempfile.TemporaryDirectory(
            prefix=".step-", dir=self.folder, ignore_cleanup_errors=True
        ) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            self.model.save(new / MODEL)
            state = {
                "run": self.description,
                "history": self.history,
                "seeds": [seed.numpy().tolist() for seed in _seeds(self.model)],
            }
            if not self.writes:
                return
            (new / STATE).write_text(json.dumps(state), encoding="utf-8")
            os.replace(new, target)
        for old in self._complete()[:-1]:
            # Renamed first: a run that is killed here must not find half a checkpoint.
            with contextlib.suppress(OSError):
                shutil.rmtree(old.rename(old.with_name(f".{old.name}")))

    def _complete(self):
        found = self.folder.glob("step-*")
        return sorted(x for x in found if re.fullmatch(r"step-\d+", x.name))


def _seeds(model):
    """States of all seed generators. Keras does not save those of its own layers."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]
