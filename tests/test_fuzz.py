"""The fuzz itself, and half a minute of it."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuzz import moe_layers, readers, verdict
from moe_zoo.layers import MoE

SECONDS = 30


@pytest.mark.slow
def test_half_a_minute_finds_nothing_unclear():
    command = [sys.executable, "-m", "fuzz", "--seconds", str(SECONDS), "--seed", "0"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in ("moe layers", "options", "readers"):
        (row,) = re.findall(rf"^{target} +([\d,]+) +([\d,]+) +([\d,]+) +0$", done.stdout, re.M)
        tried, right, refused = (int(number.replace(",", "")) for number in row)
        assert tried == right + refused and right and refused, done.stdout


def test_wrong_outputs_are_unclear():
    class Doubled(MoE):
        def call(self, inputs, mask=None, training=None):
            return 2 * super().call(inputs, mask=mask, training=training)

    kinds = []
    for number in range(12):
        case = moe_layers.draw(np.random.default_rng([0, number]))
        case.update(hostile=None, way="eager", mask="none", shape=[5], group=None)
        case["arguments"].update(z_loss_weight=0.0)
        right, wrong = moe_layers.check(case), moe_layers.check(case, Doubled)
        if right.kind == verdict.RIGHT:
            kinds.append(wrong.kind)
    assert len(kinds) > 6 and set(kinds) == {verdict.UNCLEAR}


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
