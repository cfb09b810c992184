"""Checkpoints from which a killed run resumes as if it had not been interrupted."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from moe_zoo.files import new_file, new_folder, read_file, remove_folder
from moe_zoo.files.digests import check_archive, check_digests, write_digests
from moe_zoo.files.scratch import clean
from moe_zoo.loading import load_model
from moe_zoo.validation import shown

from .run_folder import differences

MODEL, STATE = "model.keras", "state.json"


class Checkpoints(keras.callbacks.Callback):
    """Saves model, optimizer, seeds and history after every epoch, as a folder that appears whole.

    A folder `step-00000300` holds the state after 300 training steps. Only the newest is kept.

    Args:
        folder: Where the folders go.
        steps_per_epoch: Training steps of an epoch.
        description: JSON values that decide the run's result, as in `RunFolder`.
        writes: Whether this process writes. If not, another one does, and this one takes part in
            reading weights that are spread over processes.

    Attributes:
        history: Logs of all epochs so far, also of those before `restore`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        steps_per_epoch: int,
        description: dict[str, Any],
        writes: bool = True,
    ):
        super().__init__()
        self.folder = Path(folder)
        self.writes = writes
        self.description = description
        self.steps_per_epoch = steps_per_epoch
        self.history: list[dict[str, float]] = []
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            clean(self.folder)  # of a run that was killed while it saved

    def restore(self) -> tuple[keras.Model | None, int]:
        """Load the newest checkpoint.

        Returns:
            The model and its step; `(None, 0)` if there is no checkpoint.

        Raises:
            ValueError: If the checkpoint is damaged, or of another run.
        """
        complete = self._complete()
        if not complete:
            return None, 0
        newest = complete[-1]
        try:
            check_digests(newest)
            state = json.loads(read_file(newest / STATE))
            model = load_model(newest / MODEL)
            self.history, description = state["history"], state["run"]
            for seed, value in zip(_seeds(model), state["seeds"], strict=True):
                seed.assign(value)
        except Exception as error:  # a damaged file may raise any error
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
        return model, _step(newest)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        step = (epoch + 1) * self.steps_per_epoch
        try:
            self._save(self.folder / f"step-{step:08d}")
        except (OSError, ValueError) as error:
            advice = (
                "The previous one is whole: make room, and the same command resumes from there."
                if self._complete()
                else "There is no previous one: make room, and the same command starts over."
            )
            raise OSError(
                f"The checkpoint of step {step} could not be written to {shown(str(self.folder))}: "
                f"{str(error).rstrip('.')}. {advice}"
            ) from error

    def _save(self, target: Path) -> None:
        with _new(target, new_folder, self.writes) as new:
            self._fill(new)
        for old in self._complete()[:-1] if self.writes else ():
            with contextlib.suppress(OSError):
                remove_folder(old)

    def _fill(self, folder: Path) -> None:
        folder.mkdir()
        self.model.save(folder / MODEL)
        state = {
            "run": self.description,
            "history": self.history,
            "seeds": [seed.numpy().tolist() for seed in _seeds(self.model)],
        }
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
        write_digests(folder)

    def _complete(self) -> list[Path]:
        folders = (x for x in self.folder.glob("step-*") if re.fullmatch(r"step-\d+", x.name))
        return sorted((x for x in folders if x.is_dir()), key=_step)


class BestModel(keras.callbacks.Callback):
    """Saves the model of the epoch with the least value of a metric.

    Args:
        path: `.keras` file.
        monitor: Name of the metric in the logs.
        least: Least value of the epochs before.
        writes: As in `Checkpoints`.
    """

    def __init__(self, path: Path, monitor: str, least: float, writes: bool = True):
        super().__init__()
        self.path, self.monitor, self.least, self.writes = path, monitor, least, writes

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        if logs[self.monitor] < self.least:
            self.least = logs[self.monitor]
            with _new(self.path, new_file, self.writes) as file:
                self.model.save(file)


def load_best(model: keras.Model, path: str | os.PathLike) -> None:
    """Give a model the weights that `BestModel` has saved.

    Args:
        model: Model of the same architecture.
        path: `.keras` file.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        check_archive(path)
        model.load_weights(path)
    except Exception as error:  # a damaged file may raise any error
        raise ValueError(
            f"Expected the model of the best epoch. Received: {shown(str(path))}, which cannot be "
            f"read: {error}. Restore it, or delete the folder around it, and the same command "
            "trains that model again."
        ) from error


@contextlib.contextmanager
def _new(path: Path, make: Callable, writes: bool) -> Iterator[Path]:
    """Make a place to write to; a temporary one if another process writes the checkpoints."""
    if writes:
        with make(path) as new:
            yield new
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """Return the states of all seed generators; Keras does not save those of its own layers."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]
