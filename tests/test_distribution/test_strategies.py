"""Several machines under `tf.distribute`: as one alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from strategy_worker import ROWS, STEPS, fit, train
from test_cluster import addresses

WORKER = Path(__file__).with_name("strategy_worker.py")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_workers_that_mirror_each_other(count, tmp_path):
    cluster = {"worker": addresses(count).split(",")}
    processes = []
    for i in range(count):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        command = [sys.executable, WORKER, tmp_path / f"{i}.json"]
        environment = {**os.environ, "TF_CONFIG": config}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    try:
        for process in processes:
            _, error = process.communicate(timeout=100)
            assert process.returncode == 0, error.decode()
    finally:
        for process in processes:
            process.kill()

    alone = tf.distribute.get_strategy()
    expected = train(alone)
    assert expected["tokens"] == [STEPS * ROWS, 0]
    for i in range(count):
        found = json.loads((tmp_path / f"{i}.json").read_text(encoding="utf-8"))
        for name in expected:
            for a, b in zip(found[name], expected[name], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        if count == 1:
            np.testing.assert_allclose(found["fit"], fit(alone), rtol=1e-5)
        else:  # in Keras itself, for any model, as docs/distribution.md says
            assert "PerReplica" in found["fit"]
