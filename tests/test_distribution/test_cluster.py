"""Several processes on one mesh: as good as one, and never left waiting for one that is lost."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from cluster_worker import EPOCHS, FAILING_STEP, STEPS, make_data, make_model

WORKER = Path(__file__).with_name("cluster_worker.py")
MESHES = ("expert=2", "expert=4")
HEARTBEAT = 10.0  # seconds after which TensorFlow gives a silent process up
SLACK = 20.0  # seconds that a loaded machine may add
HANGS = 300.0  # seconds after which a whole run hangs, on a loaded machine too

pytestmark = pytest.mark.slow


def addresses(count):
    """Free ports of this machine, as the launcher wants them."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ",".join(f"localhost:{port}" for port in ports)


def train(folder, *arguments, options=()):
    """Trains in two processes started by `moe-zoo launch`; returns what became of it."""
    command = [sys.executable, "-m", "moe_zoo", "launch", "--workers", addresses(2), *options]
    command += ["--", sys.executable, WORKER, folder, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS)


def steps_of(folder, process=0):
    """The lines [step, loss, time] that a process wrote."""
    lines = (folder / f"losses-{process}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def losses_of(folder, process=0):
    """The loss of each step; of a step that was repeated, the last."""
    return {step: loss for step, loss, _ in steps_of(folder, process)}


def results_of(folder, process=0):
    return json.loads((folder / f"results-{process}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the same training in one process of four devices."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, WORKER, folder, *MESHES, "--devices", "4"]
    subprocess.run(command, check=True, capture_output=True, timeout=HANGS)
    return folder


# === As one process ===


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder of the training in two processes of two devices, and what they showed."""
    folder = tmp_path_factory.mktemp("together")
    run = train(folder, *MESHES, "--devices", 2)
    assert run.returncode == 0, run.stderr
    return folder, run


@pytest.mark.parametrize(("mesh", "devices"), [("expert=2", 1), ("expert=4", 2)])
def test_two_processes_train_as_one_does(alone, together, mesh, devices):
    """With one device of each process on the mesh, and with two."""
    folder, run = together
    folder, expected = folder / mesh, results_of(alone / mesh)
    assert len(losses_of(alone / mesh)) == EPOCHS * STEPS
    for process in range(2):
        assert losses_of(folder, process) == pytest.approx(losses_of(alone / mesh), abs=1e-5)
        results = results_of(folder, process)
        assert results["evaluated"] == pytest.approx(expected["evaluated"], abs=1e-5)
        np.testing.assert_allclose(results["predicted"], expected["predicted"], atol=1e-5)
        # Loaded at once after the save, by both.
        np.testing.assert_allclose(results["loaded"], expected["predicted"], atol=1e-5)
        assert "together.keras'. Remove it, or choose another name." in results["refused"]
        # Each device holds its share of the four experts, each process its own devices.
        assert results["parts"] == [[2 // devices, 8, 16]] * devices
    # One of them writes, and nothing else is left behind.
    results = {f"{kind}.json" for kind in ("results-0", "results-1")}
    losses = {"losses-0.jsonl", "losses-1.jsonl"}
    saved = {"together.keras", "of-process-0.weights.h5", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == results | losses | saved
    checkpoints = {path.name for path in (folder / "checkpoints").iterdir()}
    assert checkpoints == {f"{epoch}.keras" for epoch in range(1, EPOCHS + 1)}
    # Only worker 0 is heard.
    assert run.stdout.count("Epoch 1/3") == len(MESHES)


# === A process is lost ===


def seconds_since_failure(folder, which):
    return time.time() - steps_of(folder, which)[-1][2]


def check_checkpoints(folder):
    """What a run has saved until it failed can be loaded, and nothing is half written."""
    x, _ = make_data()
    for epoch in (1, 2):
        loaded = keras.models.load_model(folder / "checkpoints" / f"{epoch}.keras")
        assert np.isfinite(loaded.predict(x[:8], verbose=0)).all()
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / "backup" / "latest.weights.h5")
    assert int(model.optimizer.iterations) == 2 * STEPS
    assert not (folder / "checkpoints" / "3.keras").exists()


def test_killed_while_it_saves_and_resumed(tmp_path, alone):
    folder = tmp_path / "expert=2"
    run = train(tmp_path, "expert=2", "--fails", "killed-in-save", "--which", 0)
    assert seconds_since_failure(folder, 0) < HEARTBEAT + SLACK
    assert run.returncode == 128 + signal.SIGKILL
    assert "worker 0 was ended by SIGKILL" in run.stderr
    assert "did not end by itself" not in run.stderr
    assert re.search(r"\[1\] .*WorkerLostError: Expected all 2 processes to take part", run.stderr)
    assert "process 0 ended or froze, says process 1" in run.stderr
    check_checkpoints(folder)

    again = train(tmp_path, "expert=2")
    assert again.returncode == 0, again.stderr
    for process in range(2):
        steps = [step for step, _, _ in steps_of(folder, process)]
        # The third epoch is done anew, the first two are not.
        assert steps == [*range(3 * STEPS), *range(2 * STEPS, 3 * STEPS)]
        expected = losses_of(alone / "expert=2")
        assert losses_of(folder, process) == pytest.approx(expected, abs=1e-5)
    assert not list(folder.rglob(".moe-zoo-*"))


def test_killed_while_the_other_waits_in_a_step(tmp_path):
    run = train(tmp_path, "expert=2", "--fails", "killed")
    folder = tmp_path / "expert=2"
    assert seconds_since_failure(folder, 1) < HEARTBEAT + SLACK
    assert run.returncode == 128 + signal.SIGKILL
    assert "worker 1 was ended by SIGKILL" in run.stderr
    assert "WorkerLostError: Expected all 2 processes to take part in a training" in run.stderr
    assert "process 1 ended or froze, says process 0" in run.stderr
    assert "did not end by itself" not in run.stderr
    assert steps_of(folder, 0)[-1][0] == FAILING_STEP
    check_checkpoints(folder)


def test_frozen_worker(tmp_path):
    grace = 1
    run = train(tmp_path, "expert=2", "--fails", "frozen", options=["--grace", str(grace)])
    folder = tmp_path / "expert=2"
    # The launcher ends the frozen one in the end: five seconds after a signal that it ignores.
    assert seconds_since_failure(folder, 1) < HEARTBEAT + grace + 5 + SLACK
    assert run.returncode == 1
    assert "WorkerLostError: Expected all 2 processes to take part in a training" in run.stderr
    assert "process 1 ended or froze, says process 0" in run.stderr
    assert "worker 1 did not end by itself" in run.stderr
    check_checkpoints(folder)


def test_stuck_worker(tmp_path):
    timeout, grace = 12, 1
    run = train(
        *(tmp_path, "expert=2", "--fails", "stuck", "--timeout", timeout),
        options=["--grace", str(grace)],
    )
    folder = tmp_path / "expert=2"
    assert timeout <= seconds_since_failure(folder, 1) < timeout + grace + SLACK
    assert run.returncode == 128 + signal.SIGKILL
    assert (
        f"Expected a training step to take at most {timeout} s. It has not finished" in run.stderr
    )
    assert "worker 0 was ended by SIGKILL" in run.stderr
    assert "worker 1 did not end by itself" in run.stderr
    assert steps_of(folder, 0)[-1][0] == FAILING_STEP
    check_checkpoints(folder)


# === A process that is not there, or does something else ===


def test_worker_that_never_starts(tmp_path):
    run = train(tmp_path, "expert=2", "--timeout", 3, options=["--index", "0"])
    assert run.returncode == 128 + signal.SIGKILL
    assert re.search(r"Expected the meeting of localhost:\d+, localhost:\d+ to take at", run.stderr)


@pytest.mark.parametrize(
    ("failure", "words"),
    [("other-seed", "variables"), ("other-data", "the first batch of a training step")],
)
def test_processes_that_differ(tmp_path, failure, words):
    run = train(tmp_path, "expert=2", "--fails", failure)
    assert run.returncode == 1
    sentence = f"Expected {words} to be the same in all processes. Received: checksums"
    assert run.stderr.count(f"ValueError: {sentence}") == 2  # in both of them
