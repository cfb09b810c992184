"""The folder of one training run, which is never mixed with another run or lost."""

import json
import os
import warnings
import weakref
from pathlib import Path
from typing import Any

from moe_zoo.files import check_place, read_file
from moe_zoo.files.digests import check_digests, read_json, write_json
from moe_zoo.files.locks import Lock, holder
from moe_zoo.files.scratch import PREFIX, clean
from moe_zoo.validation import shown

DESCRIPTION = "run.json"
LOCK = f"{PREFIX}.lock"

# Those of this process. It may look at a run twice, as a notebook does after an interrupt.
_locks: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()


class RunFolder:
    """A folder that holds one run: it is refused to a run with another description.

    A run without a checkpoint has nothing to lose: another one may take its folder. While a process
    writes to the folder, no other can: the kernel releases its lock however the process ends.

    Args:
        path: Folder, which is made if it does not exist.
        description: JSON values that decide the run's result: sizes, seeds, fingerprints of data.
        writes: Whether this process writes; if not, another process of the same run does.

    Attributes:
        begun: Whether there was a checkpoint of this run.

    Raises:
        ValueError: If the folder holds another run, or other files, if another process writes
            there, or if a file of the run is damaged.
        OSError: If the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike, description: dict[str, Any], writes: bool = True):
        self.path, self.writes = Path(path), writes
        self._lock: Lock | None = None
        place = check_place(path, folder=True) if os.path.lexists(path) else self.path
        try:
            if writes:
                place.mkdir(parents=True, exist_ok=True)
            self._check_files()
            self.claim()
            self.begun = self._has_checkpoint()
            if self.begun:
                self._check_same(description)
            if writes:
                clean(self.path)
                self.write_json(DESCRIPTION, description)
        except OSError as error:
            raise OSError(
                f"Expected a folder that can be written to. Received: output={shown(str(path))}: "
                f"{error}. Choose another folder, or make room."
            ) from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def claim(self) -> None:
        """Keep other processes from writing to the folder, until `release` or the process ends.

        Raises:
            ValueError: If another process writes there already.
        """
        if not self.writes or self._lock is not None:
            return
        place = os.path.realpath(self.path)
        self._lock = _locks.get(place)
        if self._lock is None:
            try:
                self._lock = Lock(self.path / LOCK)
            except BlockingIOError as error:
                raise ValueError(
                    f"Expected a folder that no other run writes to. Received: "
                    f"output={shown(str(self.path))}: another run is writing here, "
                    f"{holder(self.path / LOCK)}. Wait until it has ended, or choose another "
                    "folder with --output."
                ) from error
            self._lock.sign()
            _locks[place] = self._lock
            if not self._lock.held:
                warnings.warn(
                    f"The file system of {str(self.path)!r} has no locks: take care that no other "
                    "run writes to that folder.",
                    stacklevel=2,
                )

    def release(self) -> None:
        """Let other processes write to the folder."""
        self._lock = None

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON file that appears when it is complete.

        Args:
            name: Path of the file within the folder.
            value: What to write.
        """
        self.claim()
        write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a file of `write_json`.

        Args:
            name: Path of the file within the folder.

        Returns:
            Its value, or `None` if there is no such file.

        Raises:
            ValueError: If the file is damaged.
        """
        return read_json(self.path / name)

    def _has_checkpoint(self) -> bool:
        return next(self.path.glob("*/step-*"), None) is not None

    def _check_files(self) -> None:
        held = sorted(x.name for x in self.path.glob("*") if not x.name.startswith(PREFIX))
        if held and DESCRIPTION not in held and not self._has_checkpoint():
            raise ValueError(
                f"Expected a new folder, or one of an earlier run. Received: "
                f"output={shown(str(self.path))}, which holds other files, such as "
                f"{shown(held[0])}. Choose another folder."
            )

    def _check_same(self, description: dict[str, Any]) -> None:
        earlier = self.read_json(DESCRIPTION) or self._of_a_checkpoint()
        if different := differences(earlier, description):
            raise ValueError(
                f"Expected output={shown(str(self.path))} to hold a run with these settings. "
                f"Received: a folder of another run ({different}). Choose another folder with "
                "--output, or repeat the earlier settings to resume that run."
            )

    def _of_a_checkpoint(self) -> dict[str, Any]:
        """Read the description in a checkpoint, in case a damaged `run.json` was deleted."""
        state = next(self.path.glob("*/step-*/state.json"), None)
        if state is None:
            return {}
        try:
            check_digests(state.parent)
            return json.loads(read_file(state))["run"]
        except (ValueError, LookupError) as error:
            raise ValueError(
                f"Expected {DESCRIPTION}, or a whole checkpoint. Received: "
                f"output={shown(str(self.path))} without {DESCRIPTION}, and "
                f"{shown(str(state.parent))}: "
                f"{error}. Restore one of them, or choose another folder."
            ) from error


def differences(earlier: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name the settings in which two descriptions of a run differ; empty if there are none."""
    wanted = json.loads(json.dumps(wanted))  # as it would be read from a file
    return "; ".join(
        f"{key}: {shown(earlier.get(key))} there, {shown(wanted.get(key))} now"
        for key in {**earlier, **wanted}
        if earlier.get(key) != wanted.get(key)
    )


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """Read the description of the run that a folder holds; empty if it holds none."""
    return read_json(Path(path, DESCRIPTION)) or {}
