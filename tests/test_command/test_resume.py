"""Runs that are killed, or out of room, and go on: the same losses and weights as a run in peace.

What is killed, or runs out of room, are real processes that run the command.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from moe_zoo.files.digests import check_digests
from moe_zoo.training.cli import main
from moe_zoo.training.runs.finished_run import load_from_folder

resource = pytest.importorskip("resource")  # not on Windows

EPOCHS = 6
OPTIONS = [
    *("--num-experts", "5", "--top-k", "2", "--vocabulary-size", "300", "--dropout", "0.25"),
    *("--batch-size", "3", "--sequence-length", "7", "--steps", "60", "--steps-per-epoch", "10"),
    *("--warmup-steps", "20", "--quiet"),
]
MEASURED = {"seconds", "tokens_per_second"}  # the only numbers that depend on the clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits the files of a running process"),
]


def command(text, output):
    return ["train", "lstm_lm", "--data", str(text), "--output", str(output), *OPTIONS]


def start(text, output):
    """Starts the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "moe_zoo", *command(text, output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def checkpoints(output, pattern="step-*"):
    return sorted(path.name for path in (output / "mixture").glob(pattern))


def wait_for(process, condition, seconds=240):
    """Polls until the condition is true; the process must be alive until then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def without_clock(values):
    return {name: value for name, value in values.items() if name not in MEASURED}


def result_of(output):
    """The history without the clock, the test's row, and all weights."""
    (row,) = json.loads((output / "results.json").read_text())["models"]
    history = [without_clock(epoch) for epoch in row.pop("history")]
    model, _ = load_from_folder(output)
    weights = [w.numpy() for w in (*model.weights, *model.optimizer.variables)]
    return history, without_clock(row), weights


def assert_same(output, peaceful):
    history, row, weights = result_of(output)
    expected_history, expected_row, expected_weights = peaceful
    assert len(history) == EPOCHS
    assert history == expected_history  # every loss and statistic, to the last bit
    assert row == expected_row
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.fixture(scope="module")
def peaceful(text, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "peaceful"
    assert main(command(text, output)) == 0
    return result_of(output), output


def test_a_run_that_meets_everything(text, tmp_path, peaceful, capfd):
    output = tmp_path / "run"
    for trouble in (disk_is_full, killed_while_saving, killed_at_any_moment):
        before = checkpoints(output)
        process = start(text, output)
        wait_for(process, lambda before=before: checkpoints(output) > before)
        trouble(process, output)
        (newest, *_) = reversed(checkpoints(output))  # there always is one
        assert newest < "step-00000060", "too late to mean anything"

    assert main(command(text, output)) == 0
    assert ", resuming at step " in capfd.readouterr().out
    assert_same(output, peaceful[0])
    assert checkpoints(output) == ["step-00000060"]
    assert checkpoints(output, ".*") == []
    assert [path.name for path in output.glob(".*")] == [".moe-zoo.lock"]

    # Started again when all is done: no training, and the table once more.
    model = output / "mixture" / "step-00000060" / "model.keras"
    before = model.stat().st_mtime_ns
    assert main(command(text, output)) == 0
    shown = capfd.readouterr().out
    assert "resuming" not in shown and "test perplexity" in shown
    assert model.stat().st_mtime_ns == before
    assert_same(output, peaceful[0])


def test_another_run_in_the_same_folder(text, tmp_path, capfd):
    output = tmp_path / "run"
    process = start(text, output)
    wait_for(process, lambda: checkpoints(output))
    process.send_signal(signal.SIGSTOP)
    assert main(command(text, output)) == 1
    assert f"another run is writing here, process {process.pid} on" in capfd.readouterr().err
    kill(process)


# The command, killed when the whole SavedModel lies in its scratch folder, or moved into place.
KILLED_EXPORT = """
import os, signal, sys
from moe_zoo.files import scratch
from moe_zoo.training.cli import main
from moe_zoo.files.digests import check_digests

def hook(event, args):
    if event == "os.rename" and str(args[1]).endswith("digests.json"):
        os.kill(os.getpid(), signal.SIGKILL)

def move(new, place, usual=scratch._exchange):
    assert usual(new, place)
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "written":
    sys.addaudithook(hook)
else:
    scratch._exchange = move
main(sys.argv[2:])
"""


def test_an_export_that_is_killed(peaceful, tmp_path, capfd):
    _, run = peaceful
    output = tmp_path / "exports" / "served"
    export = ["export", str(run), "--output", str(output)]
    assert main(export) == 0
    for moment in ("written", "moved"):
        with subprocess.Popen([sys.executable, "-c", KILLED_EXPORT, moment, *export]) as process:
            assert process.wait() == -signal.SIGKILL
        check_digests(output)  # it is there, the earlier or the new one, and whole
        assert len(list(output.parent.iterdir())) == 2
    assert main(export) == 0
    assert [path.name for path in output.parent.iterdir()] == ["served"]
    capfd.readouterr()


def disk_is_full(process, output):
    """No file can grow over 1 MB any more; a checkpoint has 8, vocabulary and logs have less."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    _, error = process.communicate(timeout=240)
    (said,) = [line for line in error.splitlines() if line.startswith("moe-zoo: ")]
    assert process.returncode == 1 and "Traceback" not in error
    assert "The checkpoint of step" in said and "could not be written to" in said
    assert "File too large" in said and "make room, and the same command resumes" in said
    assert len(checkpoints(output)) == 1
    assert checkpoints(output, ".*") == []  # the half that did fit is gone


def killed_while_saving(process, output):
    """Half a checkpoint stays behind, or what is left of an old one's removal."""
    wait_for(process, lambda: not checkpoints(output, ".moe-zoo-*"))
    wait_for(process, lambda: checkpoints(output, ".moe-zoo-*"))
    kill(process)


def killed_at_any_moment(process, output):
    time.sleep(random.Random(3).uniform(0.0, 0.3))
    kill(process)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
