"""The folder of one training run: what it is for, and what it must never mix or lose."""

import json
from pathlib import Path

from .atomic import write_atomically

DESCRIPTION = "run.json"


class RunFolder:
    """A folder that holds one run. The same description finds it again, another one is refused.

    A run without a checkpoint has nothing to lose: another one may take its folder.

    Args:
        path: folder, made if it does not exist.
        description: `dict` of JSON values that decide the run's result: sizes, seeds, fingerprints
            of data.
        marks: patterns of files that it would be a pity to lose.

    Attributes:
        begun: `bool`, whether there was a checkpoint of this run.

    Raises:
        ValueError: the folder holds another run, or other files.
        OSError: it cannot be written.
    """

    def __init__(self, path, description, marks=("*/step-*",)):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(
                f"Expected a folder to write to. Received: output={str(path)!r}, which is a file. "
                "Choose another path."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = sorted(x.name for x in self.path.iterdir() if not x.name.endswith(".tmp"))
            if held and DESCRIPTION not in held:
                raise ValueError(
                    f"Expected a new folder, or one of an earlier run. Received: "
                    f"output={str(path)!r}, which holds other files, such as {held[0]!r}. Choose "
                    "another folder."
                )
            self.begun = any(next(self.path.glob(mark), None) for mark in marks)
            if self.begun:
                self._check_same(description)
            self.write_json(DESCRIPTION, description)
        except OSError as error:
            raise OSError(
                f"Expected a folder that can be written to. Received: output={str(path)!r}: "
                f"{error}. Choose another folder, or make room."
            ) from error

    def __truediv__(self, name):
        return self.path / name

    def write_json(self, name, value):
        """Write a JSON file that appears when it is complete."""
        write_atomically(self.path / name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name):
        """What `write_json` wrote, or `None`."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _check_same(self, description):
        if different := differences(self.read_json(DESCRIPTION), description):
            raise ValueError(
                f"Expected output={str(self.path)!r} to hold a run with these settings. Received: "
                f"a folder of another run ({different}). Choose another folder with --output, or "
                "repeat the earlier settings to go on with that run."
            )


def differences(earlier, wanted):
    """In which settings two descriptions of a run differ, as text; empty if in none."""
    wanted = json.loads(json.dumps(wanted))  # as it would be read from a file
    return "; ".join(
        f"{key}: {earlier.get(key)!r} there, {wanted.get(key)!r} now"
        for key in {**earlier, **wanted}
        if earlier.get(key) != wanted.get(key)
    )


def read_description(path):
    """The description of the run that a folder holds; empty if it holds none."""
    path = Path(path, DESCRIPTION)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
