"""Where a run keeps its things: folders that are refused or taken, checkpoints."""

import os

import keras
import numpy as np
import pytest

from moe_zoo.training.runs.checkpoints import Checkpoints
from moe_zoo.training.runs.run_folder import RunFolder

DESCRIPTION = {"steps": 60, "seed": 0, "rate": 0.002, "data": None, "sizes": (2, 3)}


def with_checkpoint(path, description=DESCRIPTION):
    """The folder of a run that has something to lose."""
    folder = RunFolder(path, description)
    (folder / "mixture" / "step-00000010").mkdir(parents=True)
    return folder


# === Folders ===


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b", DESCRIPTION)
    assert folder.read_json("run.json") == {**DESCRIPTION, "sizes": [2, 3]}
    assert not folder.begun
    assert folder.read_json("other.json") is None


def test_a_link_to_a_folder_that_is_not_there_yet(tmp_path):
    (tmp_path / "link").symlink_to("new")
    RunFolder(tmp_path / "link", DESCRIPTION)
    assert (tmp_path / "new" / "run.json").exists() and (tmp_path / "link").is_symlink()


def test_the_same_description_finds_its_folder_again(tmp_path):
    with_checkpoint(tmp_path)
    assert RunFolder(tmp_path, DESCRIPTION).begun


def test_another_run_is_refused_with_what_differs(tmp_path):
    with_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="folder of another run") as caught:
        RunFolder(tmp_path, {**DESCRIPTION, "seed": 1, "new": "x"})
    message = str(caught.value)
    assert "(seed: 0 there, 1 now; new: None there, 'x' now)" in message
    assert f"output={str(tmp_path)!r}" in message and "--output" in message
    assert RunFolder(tmp_path, DESCRIPTION).begun  # and nothing was lost


def test_a_run_without_a_checkpoint_gives_way(tmp_path):
    # A run that ended with an error, for example of its settings, before it had learned anything.
    RunFolder(tmp_path, DESCRIPTION)
    (tmp_path / "mixture").mkdir()
    folder = RunFolder(tmp_path, {**DESCRIPTION, "seed": 1})
    assert not folder.begun
    assert folder.read_json("run.json")["seed"] == 1


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds other files, such as 'thesis\.txt'\. Choose"):
        RunFolder(tmp_path, DESCRIPTION)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_run_left_behind_is_no_other_file(tmp_path):
    (tmp_path / ".moe-zoo-1234" / "new").mkdir(parents=True)
    (tmp_path / ".moe-zoo-1234" / "new" / "run.json").write_text('{"ste')
    assert not RunFolder(tmp_path, DESCRIPTION).begun
    assert sorted(path.name for path in tmp_path.iterdir()) == [".moe-zoo.lock", "run.json"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("work")
    with pytest.raises(ValueError, match=r"file', which is a file\. Choose another path"):
        RunFolder(tmp_path / "file", DESCRIPTION)
    with pytest.raises(OSError, match=r"can be written to\. Received: .*below.*or make room"):
        RunFolder(tmp_path / "file" / "below", DESCRIPTION)
    assert (tmp_path / "file").read_text() == "work"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that none can write")
def test_a_folder_that_cannot_be_written():
    with pytest.raises(OSError, match=r"can be written to\. Received: output='/proc/self/run'"):
        RunFolder("/proc/self/run", DESCRIPTION)


# === Checkpoints ===


def fit(checkpoints, epochs, model=None, step=0):
    if model is None:
        keras.utils.set_random_seed(5)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
        model.add(keras.layers.Dense(2))
        model.compile("adam", "mse")
    x = np.random.default_rng(1).normal(size=(8, 3))
    model.fit(
        x,
        x[:, :2],
        batch_size=4,  # two steps an epoch
        shuffle=False,
        initial_epoch=step // 2,
        epochs=epochs,
        callbacks=[checkpoints],
        verbose=0,
    )
    return model


def weights_of(model):
    """Weights, optimizer and seeds: all that decides how training goes on."""
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def test_training_goes_on_from_the_newest_checkpoint(tmp_path):
    whole = Checkpoints(tmp_path / "whole", 2, {})
    assert whole.restore() == (None, 0)
    expected = fit(whole, epochs=5)
    assert len(whole.history) == 5

    fit(Checkpoints(tmp_path / "parts", 2, {}), epochs=3)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["step-00000006"]
    again = Checkpoints(tmp_path / "parts", 2, {})
    model, step = again.restore()
    assert step == 6
    model = fit(again, epochs=5, model=model, step=step)
    assert again.history == whole.history
    for value, other in zip(weights_of(model), weights_of(expected), strict=True):
        np.testing.assert_array_equal(value, other)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["step-00000010"]


def test_half_a_checkpoint_is_cleared_away_and_never_loaded(tmp_path):
    fit(Checkpoints(tmp_path, 2, {}), epochs=1)
    half = tmp_path / ".moe-zoo-abcd" / "new" / "step-00000004"
    half.mkdir(parents=True)
    (half / "model.keras").write_bytes(b"half")
    (tmp_path / "step-notes").mkdir()  # nothing of ours
    checkpoints = Checkpoints(tmp_path, 2, {})
    assert checkpoints.restore()[1] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-notes"]


@pytest.mark.parametrize("name", ["model.keras", "state.json"])
@pytest.mark.parametrize("damage", [b"", b"\x00\x01 no such thing", None])
def test_a_damaged_checkpoint_is_named(tmp_path, name, damage):
    fit(Checkpoints(tmp_path, 2, {}), epochs=1)
    path = tmp_path / "step-00000002" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    message = r"whole checkpoint\. Received: '.*step-00000002', which cannot be read.* Delete that"
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, 2, {}).restore()


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    fit(Checkpoints(tmp_path, 2, {"width": 3}), epochs=1)
    message = r"checkpoint of this run\. .* of another one \(width: 3 there, 5 now\)\. Move it away"
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, 2, {"width": 5}).restore()
    assert Checkpoints(tmp_path, 2, {"width": 3}).restore()[1] == 2


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    class Blocked(Checkpoints):
        """Meets a file where the second checkpoint is to go."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                (self.folder / "step-00000004").write_text("in the way")

    with pytest.raises(OSError, match="checkpoint of step 4 .* The previous one is whole: make"):
        fit(Blocked(tmp_path, 2, {}), epochs=3)
    (tmp_path / "step-00000004").unlink()
    assert Checkpoints(tmp_path, 2, {}).restore()[1] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
