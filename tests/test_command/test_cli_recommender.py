"""`moe-zoo train recommender`: what it shows, and how it says no."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from moe_zoo.training.cli import main

TINY = [
    *("--num-experts", "4", "--expert-units", "4", "--tower-units", "3", "--epochs", "2"),
    *("--batch-size", "32", "--quiet"),
]
HEAD = "age,city,click,rating\n"


def rows(count=120):
    return [f"{20 + i % 50},{'Rome' if i % 3 else 'Oslo'},{i % 2},{i % 5}" for i in range(count)]


def write(path, lines, head=HEAD):
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(data, output, *options):
    command = ["train", "recommender", "--data", data, "--output", output, *TINY, *options]
    return main([str(word) for word in command])


@pytest.mark.slow
def test_a_table_of_the_user_s(tmp_path, capsys):
    path = write(tmp_path / "films.csv", rows())
    output = tmp_path / "run"
    tasks = ("--task", "click:binary", "--task", "rating:regression:weight=0.5")
    assert train(path, output, *tasks, "--compare", "shared_bottom", "--seeds", "2") == 0
    shown = capsys.readouterr().out
    assert "kinds by its first rows: age:number city:category" in shown
    assert "mean and 95 % interval over 2 seeds" in shown and "click auc" in shown
    for mixing in ("mmoe", "shared_bottom"):
        assert any(line.startswith(mixing) and "±" in line for line in shown.splitlines())
    assert "mmoe_click" in shown
    assert {x.name for x in output.iterdir()} == {
        *(f"{mixing}-seed-{seed}" for mixing in ("mmoe", "shared_bottom") for seed in (0, 1)),
        *(".moe-zoo.lock", "run.json", "results.csv", "results.json"),
        *("model.keras", "saved_model", "logs"),
    }

    # With another mixing only what is missing is trained.
    before = {x: x.stat().st_mtime_ns for x in output.glob("*/result.json")}
    assert train(path, output, *tasks, "--compare", "omoe") == 0
    assert {x: x.stat().st_mtime_ns for x in before} == before
    assert (output / "omoe-seed-0" / "result.json").exists()


def test_a_file_of_settings(tmp_path, capsys):
    path = write(tmp_path / "films.csv", rows())
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    settings = tmp_path / "films.yaml"
    settings.write_text(
        "features:\n  age: buckets\n  town: {kind: category, column: city}\n"
        "tasks:\n  like: {kind: binary, column: rating, at_least: 4}\n"
    )
    assert train(path, tmp_path / "run", "--table", settings, "--mixing", "ple") == 0
    assert "like auc" in capsys.readouterr().out


@pytest.mark.slow
def test_on_a_mesh_as_on_one_device(tmp_path):
    """Two devices with two experts each; in processes of their own, which alone can be split.

    Of numbers alone: Keras' Adam takes rows of an embedding otherwise than whole gradients.
    """
    path = write(tmp_path / "films.csv", rows())
    metrics = []
    for name, mesh in (("one", []), ("two", ["--mesh", "expert=2", "--virtual-devices", "2"])):
        output = tmp_path / name
        command = [sys.executable, "-m", "moe_zoo", "train", "recommender", "--data", path, *TINY]
        command += ["--task", "click:binary", "--task", "rating:regression"]
        command += ["--feature", "age:number", "--output", output]
        result = subprocess.run([*command, *mesh], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        found = json.loads((output / "mmoe-seed-0" / "result.json").read_text())["metrics"]
        metrics.append([found["click"]["log_loss"], found["rating"]["rmse"]])
    np.testing.assert_allclose(*metrics, rtol=1e-4)


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    """A run that is killed after some epochs ends as one that never was."""
    path = write(tmp_path / "films.csv", rows())
    options = ["--task", "click:binary", "--task", "rating:regression", "--epochs", "12"]
    command = [sys.executable, "-m", "moe_zoo", "train", "recommender", "--data", path, *TINY]
    folder = tmp_path / "killed" / "mmoe-seed-0"
    process = subprocess.Popen([*command, *options, "--output", tmp_path / "killed"])
    deadline = time.monotonic() + 100
    while not list(folder.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(folder.glob("step-*")) and not (folder / "result.json").exists()

    assert train(path, tmp_path / "killed", *options) == 0
    assert train(path, tmp_path / "whole", *options) == 0
    killed, whole = (
        json.loads((tmp_path / name / "mmoe-seed-0" / "result.json").read_text())
        for name in ("killed", "whole")
    )
    assert len(killed["history"]) == 12
    assert killed["metrics"] == whole["metrics"] and killed["gates"] == whole["gates"]


@pytest.mark.parametrize(
    ("lines", "head", "options", "words"),
    [
        (rows(), HEAD, ["--task", "clik:binary"], "'click'"),
        (rows(), HEAD, ["--task", "click:binary", "--feature", "aeg:number"], "'age'"),
        ([], HEAD, ["--task", "click:binary"], "with none"),
        ([*rows(), "30,Rome,1"], HEAD, ["--task", "click:binary"], "122"),
        ([*rows(), "30,Rome,2,1"], HEAD, ["--task", "click:binary"], "'2'"),
        ([*rows(), "x,Rome,1,1"], HEAD, ["--task", "click:binary", "--feature", "age:number"], "x"),
        (rows(), HEAD, [], "--task"),
        (rows(), HEAD, ["--task", "click:binery"], "'binary'"),
        (["30,Rome,,1"] * 60, HEAD, ["--task", "click:binary"], "Received: none of click."),
        (
            rows(),
            HEAD,
            ["--task", "click:binary", "--compare", "mmeo"],
            "Received: 'mmeo'. Did you mean 'mmoe'?",
        ),
        (rows(), HEAD, ["--task", "click:binary", "--seeds", "0"], "seeds=0"),
    ],
)
def test_what_cannot_be(failure, tmp_path, lines, head, options, words):
    path = write(tmp_path / "films.csv", lines, head)
    output = tmp_path / "run"
    said = failure("train", "recommender", "--data", path, "--output", output, *TINY, *options)
    assert words in said


def test_labels_that_are_all_the_same(tmp_path, capsys):
    path = write(tmp_path / "films.csv", [f"{20 + i % 50},Rome,1,{i % 5}" for i in range(120)])
    with pytest.warns(UserWarning, match="click_auc: every label is 1, one class only"):
        assert train(path, tmp_path / "run", "--task", "click:binary") == 0
    assert "undefined: the test part has labels of one class only" in capsys.readouterr().out
