import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st


def test_eight_logical_devices():
    assert len(tf.config.list_logical_devices("CPU")) == 8


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_draws_the_same_numbers(attempt):
    # 5 numbers of NumPy's seed 0, which set_random_seed(0) sets; attempt 2 must see them again.
    expected = np.random.RandomState(0).rand(5)
    np.testing.assert_array_equal(np.random.rand(5), expected)
    assert keras.layers.Dense(1).name == "dense"


@given(st.integers())
def test_hypothesis_is_deterministic(number):
    assert settings.default.derandomize
    assert isinstance(number, int)


@pytest.mark.parametrize(
    ("environment", "backend"), [({"KERAS_BACKEND": "jax"}, "jax"), ("keras.json", "torch")]
)
def test_other_backends_are_refused(tmp_path, environment, backend):
    if environment == "keras.json":
        (tmp_path / "keras.json").write_text('{"backend": "torch"}')
        environment = {"KERAS_HOME": str(tmp_path)}
    inherited = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-c", "import moe_zoo"],
        env=inherited | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert f"Expected Keras to run on its tensorflow backend. Received: backend='{backend}'. " in (
        result.stderr
    )
    assert "KERAS_BACKEND=tensorflow" in result.stderr
