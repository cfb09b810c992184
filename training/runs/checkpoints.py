"""Checkpoints from which a killed run goes on as if it never had been."""

import contextlib
import json
import re
import tempfile
from pathlib import Path

import keras

from moe_zoo.files import new_file, new_folder, read_file, remove_folder
from moe_zoo.files.digests import check_digests, write_digests
from moe_zoo.files.scratch import clean
from moe_zoo.validation import shown

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
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            clean(self.folder)  # of a run that was killed while it saved

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
            check_digests(newest)
            state = json.loads(read_file(newest / STATE))
            model = keras.models.load_model(newest / MODEL, safe_mode=True)
            self.history, description = state["history"], state["run"]
            for seed, value in zip(_seeds(model), state["seeds"], strict=True):
                seed.assign(value)
        except Exception as error:  # whatever a damaged file makes the libraries raise
            raise ValueError(
                f"Expected a whole checkpoint. Received: {shown(str(newest))}, which cannot be "
                f"read: {error}. Delete that folder, and the same command trains from the start."
            ) from error
        if different := differences(description, self.description):
            raise ValueError(
                f"Expected a checkpoint of this run. Received: {shown(str(newest))}, which is of "
                f"another one ({different}). Move it away, and the same command trains from "
                "the start."
            )
        return model, int(newest.name.removeprefix("step-"))

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        step = (epoch + 1) * self.steps_per_epoch
        try:
            self._save(self.folder / f"step-{step:08d}")
        except (OSError, ValueError) as error:
            advice = (
                "The one before it is whole: make room, and the same command goes on from there."
                if self._complete()
                else "There is none before it: make room, and the same command begins anew."
            )
            raise OSError(
                f"The checkpoint of step {step} could not be written to {shown(str(self.folder))}: "
                f"{str(error).rstrip('.')}. {advice}"
            ) from error

    def _save(self, target):
        with _new(target, new_folder, self.writes) as new:
            self._fill(new)
        for old in self._complete()[:-1] if self.writes else ():
            with contextlib.suppress(OSError):
                remove_folder(old)

    def _fill(self, folder):
        folder.mkdir()
        self.model.save(folder / MODEL)
        state = {
            "run": self.description,
            "history": self.history,
            "seeds": [seed.numpy().tolist() for seed in _seeds(self.model)],
        }
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        write_digests(folder)

    def _complete(self):
        found = self.folder.glob("step-*")
        return sorted(x for x in found if re.fullmatch(r"step-\d+", x.name) and x.is_dir())


class BestModel(keras.callbacks.Callback):
    """Saves the model of the epoch with the least value of a metric, in one step.

    Args:
        path: `.keras` file.
        monitor: name in the logs.
        least: `float`, the least value so far, of the epochs before.
        writes: as in `Checkpoints`.
    """

    def __init__(self, path, monitor, least, writes=True):
        super().__init__()
        self.path, self.monitor, self.least, self.writes = path, monitor, least, writes

    def on_epoch_end(self, epoch, logs=None):
        if logs[self.monitor] < self.least:
            self.least = logs[self.monitor]
            with _new(self.path, new_file, self.writes) as file:
                self.model.save(file)


@contextlib.contextmanager
def _new(path, make, writes):
    """What is written; elsewhere if another process writes, since all read spread variables."""
    if writes:
        with make(path) as new:
            yield new
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)


def _seeds(model):
    """States of all seed generators. Keras does not save those of its own layers."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]
