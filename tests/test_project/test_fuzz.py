"""The fuzz itself, and a minute of it."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import fuzz_dying
from fuzz import moe_layers, readers, runner, task_mixings, verdict
from fuzz.__main__ import TARGETS
from moe_zoo.layers import MMoE, MoE

SECONDS = 60
LEAST = 15  # cases of a target in its share of the time, on a slow machine


@pytest.mark.slow
@pytest.mark.nightly
def test_a_minute_finds_nothing_unclear():
    command = [sys.executable, "-m", "fuzz", "--seconds", str(SECONDS), "--seed", "0"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in TARGETS:
        name = target.replace("_", " ")
        (row,) = re.findall(rf"^{name} +([\d,]+) +([\d,]+) +([\d,]+) +0$", done.stdout, re.M)
        tried, right, refused = (int(number.replace(",", "")) for number in row)
        assert tried == right + refused > LEAST and right and refused, done.stdout


def test_processes_that_die_or_hang_are_unclear_and_followed_by_others():
    report = runner.run("fuzz_dying", seconds=4, seed=59, longest=1)
    cases = [fuzz_dying.draw(np.random.default_rng([59, n])) for n in range(report.tried)]
    said = [(number, fuzz_dying.SAID[case]) for number, case in enumerate(cases)]
    assert set(cases) == set(fuzz_dying.SAID)
    assert report.unclear == [(number, words) for number, words in said if words]
    assert report.counts[verdict.RIGHT] == cases.count("right")


def test_a_target_that_cannot_be_imported_is_no_target():
    with pytest.raises(RuntimeError, match="The process for fuzz_missing does not start"):
        runner.run("fuzz_missing", seconds=1, seed=0)


@pytest.mark.slow
def test_wrong_outputs_are_unclear():
    class Doubled(MoE):
        def call(self, inputs, mask=None, training=None):
            return 2 * super().call(inputs, mask=mask, training=training)

    kinds = []
    for number in range(6):
        case = moe_layers.draw(np.random.default_rng([0, number]))
        case.update(hostile=None, way="eager", mask="none", shape=[5], by_row=False)
        case["arguments"].update(z_loss_weight=0.0, group_size=None)
        right, wrong = moe_layers.check(case), moe_layers.check(case, Doubled)
        if right.kind == verdict.RIGHT:
            kinds.append(wrong.kind)
    assert len(kinds) > 3 and set(kinds) == {verdict.UNCLEAR}


def test_wrong_gradients_of_task_mixings_are_unclear():
    class Backwards(MMoE):
        def call(self, inputs, training=None):
            outputs = super().call(inputs, training=training)
            return 2 * tf.stop_gradient(outputs) - outputs

    kinds = []
    for number in range(32):
        case = task_mixings.draw(np.random.default_rng([0, number]))
        if case["layer"] == "MMoE":
            case.update(hostile=None, way="eager", rows=3)
            right = task_mixings.check(case)
            wrong = task_mixings.check(case, SimpleNamespace(MMoE=Backwards))
            if right.kind == verdict.RIGHT:
                kinds.append(wrong.kind)
    assert len(kinds) > 3 and set(kinds) == {verdict.UNCLEAR}


def test_errors_that_are_not_of_the_house_are_unclear():
    assert verdict.of_error(KeyError("age")).kind == verdict.UNCLEAR
    assert verdict.of_error(ValueError("invalid literal")).kind == verdict.UNCLEAR
    said = "Expected a file. Received: 'x'. Check the path."
    assert verdict.of_error(ValueError(said)).kind == verdict.REFUSED
    assert verdict.of_error(ValueError(said + " " * verdict.LONGEST)).kind == verdict.UNCLEAR


def test_damage_is_damage():
    data, rng = b"0123456789" * 9, np.random.default_rng(0)
    changed = sum(readers.damaged(data, rng) != data for _ in range(50))
    assert changed > 40
