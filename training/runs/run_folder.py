"""The folder of one training run: what it is for, and what it must never mix or lose."""

import json
import os
import warnings
import weakref
from pathlib import Path

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
    """A folder that holds one run. The same description finds it again, another one is refused.

    A run without a checkpoint has nothing to lose: another one may take its folder. While a process
    writes to the folder, no other can: a lock of the kernel's is released however the process ends.

    Args:
        path: folder, made if it does not exist.
        description: `dict` of JSON values that decide the run's result: sizes, seeds, fingerprints
            of data.
        marks: patterns of files that it would be a pity to lose.
        writes: `bool`; else another process of the same run writes.

    Attributes:
        begun: `bool`, whether there was a checkpoint of this run.

    Raises:
        ValueError: the folder holds another run, or other files, or another process writes there,
            or a file of the run is damaged.
        OSError: it cannot be written.
    """

    def __init__(self, path, description, marks=("*/step-*",), writes=True):
        self.path, self.writes = Path(path), writes
        self._lock = None
        place = check_place(path, folder=True) if os.path.lexists(path) else self.path
        try:
            if writes:
                place.mkdir(parents=True, exist_ok=True)
            self._check_files(marks)
            self.claim()
            self.begun = any(next(self.path.glob(mark), None) for mark in marks)
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

    def __truediv__(self, name):
        return self.path / name

    def claim(self):
        """Keep other processes from writing to the folder, until `release` or the process's end.

        Raises:
            ValueError: another process does already.
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

    def release(self):
        """Let other processes write to the folder."""
        self._lock = None

    def write_json(self, name, value):
        """Write a JSON file that appears when it is complete."""
        self.claim()
        write_json(self.path / name, value)

    def read_json(self, name):
        """What `write_json` wrote, or `None`; raises `ValueError` if it is damaged."""
        return read_json(self.path / name)

    def _check_files(self, marks):
        held = sorted(x.name for x in self.path.glob("*") if not x.name.startswith(PREFIX))
        run = DESCRIPTION in held or any(next(self.path.glob(mark), None) for mark in marks)
        if held and not run:
            raise ValueError(
                f"Expected a new folder, or one of an earlier run. Received: "
                f"output={shown(str(self.path))}, which holds other files, such as "
                f"{shown(held[0])}. Choose another folder."
            )

    def _check_same(self, description):
        earlier = self.read_json(DESCRIPTION) or self._of_a_checkpoint()
        if different := differences(earlier, description):
            raise ValueError(
                f"Expected output={shown(str(self.path))} to hold a run with these settings. "
                f"Received: a folder of another run ({different}). Choose another folder with "
                "--output, or repeat the earlier settings to go on with that run."
            )

    def _of_a_checkpoint(self):
        """What a checkpoint says of its run, for where a damaged `run.json` was deleted."""
        state = next(self.path.glob("*/step-*/state.json"), None)
        if state is None:
            return {}
        try:
            check_digests(state.parent)
            return json.loads(read_file(state))["run"]
        except (ValueError, LookupError) as error:
            raise ValueError(
                f"Expected {DESCRIPTION}, or a whole checkpoint. Received: "
                f"output={shown(str(self.path))} without the one, and {shown(str(state.parent))}: "
                f"{error}. Restore one of them, or choose another folder."
            ) from error


def differences(earlier, wanted):
    """In which settings two descriptions of a run differ, as text; empty if in none."""
    wanted = json.loads(json.dumps(wanted))  # as it would be read from a file
    return "; ".join(
        f"{key}: {shown(earlier.get(key))} there, {shown(wanted.get(key))} now"
        for key in {**earlier, **wanted}
        if earlier.get(key) != wanted.get(key)
    )


def read_description(path):
    """The description of the run that a folder holds; empty if it holds none."""
    return read_json(Path(path, DESCRIPTION)) or {}
