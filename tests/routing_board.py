"""A real TensorBoard on written event files, and a writer of what the routing callback writes."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import summary_pb2

PLUGIN = "data/plugin/moe_routing"
SECONDS_TO_START = 90  # it imports TensorFlow, on a machine that may be busy


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Board(NamedTuple):
    """A running TensorBoard."""

    url: str  # ends with a slash

    def get(self, path, method="GET"):
        """What the server answers; errors too."""
        request = urllib.request.Request(self.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def plugin(self, path, method="GET"):
        return self.get(f"{PLUGIN}/{path}", method)

    def wait_for(self, loaded):
        """Waits until what `/layers` tells of the runs passes `loaded`."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not loaded(runs := self.plugin("layers").json["runs"]):
            assert time.monotonic() < deadline, f"TensorBoard has loaded no more than {runs}"
            time.sleep(0.2)


@contextlib.contextmanager
def tensorboard(log_dir, *options):
    """Starts TensorBoard on a free port, and ends it whatever happens."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    command += ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1", *options]
    log = Path(f"{log_dir}.tensorboard.txt")
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Board(_wait_for_url(process, log))
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_url(process, log):
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        text = log.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r" at (http://127\.0\.0\.1:\d+/)", text):
            return found[1]
        assert process.poll() is None and time.monotonic() < deadline, text
        time.sleep(0.1)


class RunWriter:
    """Writes the series of one run, as the routing callback does."""

    def __init__(self, folder):
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, layer, kind, step, value, **content):
        """One value of one kind. `content` goes into the metadata, over what is usual."""
        usual = {"version": 1, "layer": layer, "kind": kind, "index": 0, "group": None}
        dtype = tf.string if kind in ("health", "watched", "examples") else tf.float32
        metadata = json.dumps(usual | {"task": None} | content)
        self.write_tag(f"{layer}/{kind}", step, tf.constant(value, dtype), metadata)

    def write_tag(self, tag, step, value, content):
        """A tensor under the plugin's name; `content` is its metadata's text, right or wrong."""
        metadata = summary_pb2.SummaryMetadata(
            plugin_data=summary_pb2.SummaryMetadata.PluginData(
                plugin_name="moe_routing", content=content.encode()
            ),
            data_class=summary_pb2.DATA_CLASS_TENSOR,
        )
        with self._writer.as_default():
            tf.summary.write(tag, value, step, metadata)

    def write_load(self, layer, step, demand, load, gates=0.5, watched=(), **content):
        """The kinds that are written with every write: choices, gates, balance, health."""
        demand, load = np.asarray(demand, "float64"), np.asarray(load, "float64")
        importance = demand * gates
        balance = [
            1 - load.sum() / demand.sum(),
            load.std() / load.mean(),
            importance.std() / importance.mean(),
            _entropy(demand / demand.sum()),
            (load == 0).sum(),
        ]
        dead = np.flatnonzero(load == 0)
        health = [f"Expert {expert} has computed nothing for 1,000 steps." for expert in dead]
        values = {
            "load": load,
            "demand": demand,
            "importance": importance,
            "gate_mean": np.where(demand > 0, gates, 0),
            "balance": balance,
            "health": health,
            "watched": list(watched),
        }
        for kind, value in values.items():
            self.write(layer, kind, step, value, **content)

    def flush(self):
        self._writer.flush()

    def close(self):
        self._writer.close()


def _entropy(shares):
    shares = shares[shares > 0]
    return -(shares * np.log(shares)).sum()
