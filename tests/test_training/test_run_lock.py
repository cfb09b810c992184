"""One run writes to a folder at a time, and damaged files of a run are named."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import full_disk
from moe_zoo.files import locks
from moe_zoo.training.runs.checkpoints import BestModel, Checkpoints
from moe_zoo.training.runs.run_folder import RunFolder, read_description

DESCRIPTION = {"steps": 60, "seed": 0}
CHILD = """
import sys
from moe_zoo.training.runs.run_folder import RunFolder

folder = RunFolder(sys.argv[1], {"steps": 60, "seed": 0})
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """Another process that writes to `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"claimed\n"
        yield process
        process.kill()


@pytest.mark.skipif(locks.fcntl is None, reason="needs locks")
def test_another_run_is_kept_out_until_the_first_has_ended(tmp_path, writer):
    message = rf"another run is writing here, process {writer.pid} on .*\. Wait until it has ended"
    for description in (DESCRIPTION, {"steps": 1}):
        with pytest.raises(ValueError, match=message) as caught:
            RunFolder(tmp_path, description)
    assert f"output={str(tmp_path)!r}" in str(caught.value) and "--output" in str(caught.value)
    assert read_description(tmp_path) == DESCRIPTION  # who only reads is not kept out
    assert not RunFolder(tmp_path, DESCRIPTION, writes=False).begun  # nor who shares the mesh
    writer.kill()
    writer.wait()
    assert not RunFolder(tmp_path, DESCRIPTION).begun


def test_one_process_may_look_at_its_run_twice_and_lets_go_of_it(tmp_path):
    first = RunFolder(tmp_path, DESCRIPTION)
    second = RunFolder(tmp_path, DESCRIPTION)
    first.release()
    first.claim()
    for folder in (first, second):
        with pytest.raises(BlockingIOError):  # as another process would find it
            locks.Lock(tmp_path / ".moe-zoo.lock")
        folder.release()
    locks.Lock(tmp_path / ".moe-zoo.lock").release()


def test_those_that_do_not_write_write_nothing(tmp_path):
    folder = RunFolder(tmp_path / "run", DESCRIPTION, writes=False)
    assert not folder.begun and not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.warns(UserWarning, match="has no locks: take care that no other run"):
        RunFolder(tmp_path, DESCRIPTION)


def test_a_damaged_description_is_named_and_can_be_deleted(tmp_path):
    RunFolder(tmp_path, DESCRIPTION).release()
    state = tmp_path / "mixture" / "step-00000010"
    state.mkdir(parents=True)
    (state / "state.json").write_text(json.dumps({"run": DESCRIPTION}))
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace("60", "61"))
    message = rf"Received: '{path}', which does not match its digest.*delete it and start"
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path, DESCRIPTION)
    path.unlink()
    with pytest.raises(ValueError, match=r"without run\.json, and .*step-00000010': it has no dig"):
        RunFolder(tmp_path, DESCRIPTION)


# === Checkpoints ===


def fit(callback, epochs=2):
    import keras

    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    x = np.random.default_rng(1).normal(size=(4, 3))
    model.fit(x, x[:, :2], epochs=epochs, callbacks=[callback], verbose=0)
    return model


def test_a_flipped_bit_of_a_checkpoint_does_not_resume(tmp_path):
    RunFolder(tmp_path, DESCRIPTION).release()
    folder = tmp_path / "mixture"
    fit(Checkpoints(folder, 1, DESCRIPTION), epochs=1)
    (tmp_path / "run.json").unlink()
    assert RunFolder(tmp_path, DESCRIPTION).begun  # the checkpoint knows its run
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match=r"another run \(seed: 0 there, 1 now\)"):
        RunFolder(tmp_path, {**DESCRIPTION, "seed": 1})
    for name in ("state.json", "model.keras"):
        path = folder / "step-00000001" / name
        whole = path.read_bytes()
        place = whole.index(b"loss") + 8 if name == "state.json" else len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=f"its '{name}' is not as it was .* Delete that"):
            Checkpoints(folder, 1, DESCRIPTION).restore()
        path.write_bytes(whole)
    assert Checkpoints(folder, 1, DESCRIPTION).restore()[1] == 1


def test_the_first_checkpoint_on_a_full_disk_claims_no_earlier_one(tmp_path):
    class Full(Checkpoints):
        def on_epoch_end(self, epoch, logs=None):
            with full_disk():
                super().on_epoch_end(epoch, logs)

    with pytest.raises(OSError, match=r"step 1 .*large\. There is no previous one: make room") as e:
        fit(Full(tmp_path, 1, {}))
    assert "whole" not in str(e.value)
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_is_kept(tmp_path):
    import keras

    class Losses(BestModel):
        """The losses of three epochs are these."""

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, {"val_loss": [2.0, 1.0, 3.0][epoch]})
            if epoch == 1:
                self.expected = self.model.layers[0].kernel.numpy()

    best = Losses(tmp_path / "best.keras", "val_loss", 1.5)
    model = fit(best, epochs=3)
    loaded = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(loaded.layers[0].kernel, best.expected)
    assert not np.array_equal(model.layers[0].kernel, best.expected)
    assert os.listdir(tmp_path) == ["best.keras"]
