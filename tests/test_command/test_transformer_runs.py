"""Recipes of Transformers, killed or on a mesh: real processes that run the command."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from conftest import nightly_but
from moe_zoo.training.cli import make_parser
from moe_zoo.training.runs.finished_run import load_from_folder
from moe_zoo.training.runs.run import Run
from tiny_texts import TINY_CLASSIFIER, TINY_TRANSLATION, write_labelled, write_parallel

pytest.importorskip("sacrebleu")
pytestmark = pytest.mark.slow
TINY_LANGUAGE_MODEL = [
    *("--width", "8", "--num-heads", "2", "--num-layers", "1", "--moe-every", "1"),
    *("--num-experts", "4", "--vocabulary-size", "300", "--batch-size", "4"),
    *("--sequence-length", "7", "--steps", "4", "--steps-per-epoch", "2", "--quiet"),
]
MEASURED = {"seconds", "tokens_per_second"}  # the only numbers that depend on the clock


def command(recipe, folder, output, *options):
    """Arguments of the command on the data that it makes in the folder."""
    if recipe == "translation":
        data, tiny = write_parallel(folder / "pairs"), TINY_TRANSLATION
    elif recipe == "classifier":
        data, tiny = write_labelled(folder / "labelled.tsv"), TINY_CLASSIFIER
    else:
        data, tiny = folder / "text.txt", TINY_LANGUAGE_MODEL
        data.write_text("".join(f"def f{n}(x):\n    return x + {n}\n\n" for n in range(400)))
    arguments = ["train", recipe, "--data", data, "--output", folder / output, *tiny, *options]
    return [str(argument) for argument in arguments]


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "moe_zoo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def train(arguments, show):
    """What the command does before it exports: the row without the clock, and all weights."""
    options = make_parser().parse_args(arguments)
    run = Run(options.train.make_recipe(options), options.output, show=show, progress=False)
    model, row = run.train(run.recipe.variants[0])
    row["history"] = [
        {k: v for k, v in epoch.items() if k not in MEASURED} for epoch in row["history"]
    ]
    weights = [w.numpy() for w in (*model.weights, *model.optimizer.variables)]
    return {k: v for k, v in row.items() if k not in MEASURED}, weights


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    "recipe",
    nightly_but(["translation", "transformer_lm"], ["translation", "classifier", "transformer_lm"]),
)
def test_a_run_that_is_killed_resumes_as_if_it_had_not_been_interrupted(recipe, tmp_path):
    options = ["--steps", "16", "--steps-per-epoch", "4", "--expert-dropout", "0.3"]
    arguments = {name: command(recipe, tmp_path, name, *options) for name in ("killed", "peaceful")}
    process = start(arguments["killed"])
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("*/step-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "results.json").exists()
    results, said = {}, {"killed": [], "peaceful": []}
    for name, lines in said.items():
        results[name] = train(arguments[name], lines.append)
    assert ", resuming at step " in "".join(said["killed"])
    assert ", resuming at step " not in "".join(said["peaceful"])
    (row, weights), (expected, expected_weights) = results.values()
    assert row == expected  # every loss, statistic and translation
    for weight, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize(
    "recipe", nightly_but(["transformer_lm"], ["transformer_lm", "translation"])
)
def test_training_on_a_mesh(recipe, tmp_path):
    options = ("--steps", "2", "--steps-per-epoch", "2", "--warmup-steps", "1")
    mesh = ("--mesh", "expert=2", "--virtual-devices", "2")
    process = start(command(recipe, tmp_path, "run", *options, *mesh))
    shown, error = process.communicate()
    assert process.returncode == 0, error
    assert "experts/kernel_in" in shown and "in a fresh process" in shown
    (row,) = json.loads((tmp_path / "run" / "results.json").read_text())["models"]
    assert row["dropped_fraction"] == 0  # on one device again: dropless
    model, _ = load_from_folder(tmp_path / "run")
    routers = [layer for layer in model._flatten_layers() if hasattr(layer, "top_k")]
    assert routers and {router.eval_capacity_factor for router in routers} == {None}
