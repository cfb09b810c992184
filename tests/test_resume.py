"""Runs that are killed, or out of room, and go on: the same losses and weights as a run in peace.

Everything here happens to real processes that run the command.
"""

import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from moe_zoo.cli import main

EPOCHS = 6
OPTIONS = [
    *("--num-experts", "5", "--top-k", "2", "--vocabulary-size", "300", "--dropout", "0.25"),
    *("--batch-size", "3", "--sequence-length", "7", "--steps", "60", "--steps-per-epoch", "10"),
    *("--warmup-steps", "20", "--quiet"),
]
MEASURED = {"seconds"}  # the only numbers of a history that depend on the clock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    source = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text(source[:20_000], encoding="utf-8")
    return path


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


def finish(process):
    shown, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    return shown


def result_of(output):
    """The history without the clock, the test's row, and all weights."""
    (row,) = json.loads((output / "results.json").read_text())["models"]
    history = [
        {k: v for k, v in epoch.items() if k not in MEASURED} for epoch in row.pop("history")
    ]
    row.pop("tokens_per_second")
    model = keras.models.load_model(output / "model.keras")
    return history, row, [w.numpy() for w in (*model.weights, *model.optimizer.variables)]


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
    finish(start(text, output))
    return result_of(output)


def test_a_run_that_is_killed_again_and_again(text, tmp_path, peaceful, capfd):
    output, rng = tmp_path / "run", random.Random(3)

    def saving():
        return checkpoints(output, ".step-*")

    def kill(process):
        process.send_signal(signal.SIGKILL)
        process.communicate()

    # While the first checkpoint is being written.
    process = start(text, output)
    wait_for(process, saving)
    kill(process)
    # While a later one is: half of it stays behind, or half of the old one's removal.
    process = start(text, output)
    wait_for(process, lambda: checkpoints(output))
    wait_for(process, lambda: not saving())
    wait_for(process, saving)
    kill(process)
    left = checkpoints(output)
    assert left
    # At a random moment after another checkpoint.
    process = start(text, output)
    wait_for(process, lambda: checkpoints(output)[-1] > left[-1])
    time.sleep(rng.uniform(0.0, 0.3))
    kill(process)
    assert checkpoints(output)[-1] < f"step-{60:08d}", "killed too late to mean anything"
    shown = finish(start(text, output))
    assert ", going on at step " in shown
    assert_same(output, peaceful)
    assert checkpoints(output) == ["step-00000060"]
    assert checkpoints(output, ".*") == []

    # Started again when all is done: no training, and the table once more.
    before = (output / "mixture" / "step-00000060" / "model.keras").stat()
    assert main(command(text, output)) == 0
    shown = capfd.readouterr().out
    assert "going on" not in shown and "test perplexity" in shown
    assert (output / "mixture" / "step-00000060" / "model.keras").stat() == before
    assert_same(output, peaceful)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limit of a running process")
def test_a_run_whose_disk_is_full(text, tmp_path, peaceful):
    import resource

    output = tmp_path / "run"
    process = start(text, output)
    wait_for(process, lambda: checkpoints(output))
    # From now on no file can grow over 1 MB; a checkpoint has 8, logs and vocabulary less than 1.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    _, error = process.communicate(timeout=240)
    (said,) = [line for line in error.splitlines() if line.startswith("moe-zoo: ")]
    assert process.returncode == 1 and "Traceback" not in error
    assert "could not be written to" in said and "File too large" in said and "make room" in said
    (left,) = checkpoints(output)
    assert left < f"step-{60:08d}"
    assert checkpoints(output, ".*") == []
    # With room again the same command goes on from there.
    assert main(command(text, output)) == 0
    assert_same(output, peaceful)
