"""The guard against the wrong numbers that DTensor computes by default."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.distribution import ExpertParallel
from moe_zoo.distribution.environment import COMBINE_PASS

ADAM_STEP = """
import os
import keras, numpy as np
from moe_zoo.distribution import ExpertParallel, virtual_devices
virtual_devices(2)
from mesh_models import compiled, functional, train
model = compiled(functional, "adam")
before = {v.path: v.numpy() for v in model.trainable_variables}
parallel = ExpertParallel("expert=2")
os.environ.update(SETTING)
parallel.distribute(model)
train(model, 1)
print(max(np.abs(v.numpy() - before[v.path]).max() for v in model.trainable_variables))
"""


def largest_change(setting):
    """By how much one Adam step of rate 0.01 moves a weight, in a process of its own."""
    code = ADAM_STEP.replace("SETTING", repr(setting))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),
        env={k: v for k, v in os.environ.items() if k != COMBINE_PASS},
    )
    assert result.returncode == 0, result.stderr
    return float(result.stdout)


@pytest.mark.slow
def test_the_guard_keeps_adam_right():
    assert largest_change({}) == pytest.approx(0.01, rel=0.01)


@pytest.mark.slow
def test_without_the_guard_numbers_are_wrong():
    right = largest_change({COMBINE_PASS: "1"}) == pytest.approx(0.01, rel=0.01)
    if right and not tf.__version__.startswith("2.21."):
        pytest.skip("this TensorFlow has mended the pass: the guard can go")
    assert not right


def test_the_guard_refuses_to_be_overruled(monkeypatch):
    monkeypatch.setenv(COMBINE_PASS, "1")
    mesh = dtensor.create_mesh([("expert", 2)], devices=["CPU:0", "CPU:1"])
    for wanted in ("expert=2", mesh):
        with pytest.raises(RuntimeError, match=f"{COMBINE_PASS}='1'. Remove it"):
            ExpertParallel(wanted)
