"""A training run for tests/test_cluster.py: the same program in one process and in several."""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.distribution import ExpertParallel, virtual_devices
from moe_zoo.distribution.cluster import process_index
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SwitchRouter

STEPS, EPOCHS = 4, 3


def make_model():
    tokens = keras.Input((5, 8))
    mixture = MoE(SwitchRouter(capacity_factor=4.0), FeedForwardExperts(4, 16))
    outputs = keras.layers.Dense(3)(mixture(tokens))
    model = keras.Model(tokens, outputs)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model


class Losses(keras.callbacks.Callback):
    """Writes the loss of each step to a file of this process; fails where it is told to."""

    def __init__(self, path, failure, stays_whole):
        super().__init__()
        self.path, self.failure, self.stays_whole = path, failure, stays_whole
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = self.epoch * STEPS + batch
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([step, float(logs["loss"]), time.time()]) + "\n")
        if self.failure and step == 2 * STEPS + 1:
            FAILURES[self.failure]()


FAILURES = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "frozen": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "stuck": lambda: time.sleep(1000),
    "raises": lambda: 1 / 0,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mesh", default="expert=1")
    parser.add_argument("--devices", type=int, default=1, help="of this process")
    parser.add_argument("--fails", nargs=2, default=("", "0"), metavar=("HOW", "PROCESS"))
    parser.add_argument("--seconds", type=float, default=600, help="collective_timeout")
    options = parser.parse_args()

    keras.utils.set_random_seed(3)
    virtual_devices(options.devices)
    plan = ExpertParallel(options.mesh, collective_timeout=options.seconds)
    random = np.random.default_rng(7)
    x = random.normal(size=(STEPS * 8, 5, 8)).astype("float32")
    y = random.normal(size=(STEPS * 8, 5, 3)).astype("float32")
    model = make_model()
    plan.distribute(model)

    me, folder = process_index(), options.folder
    failure = options.fails[0] if int(options.fails[1]) == me else ""
    callbacks = [
        keras.callbacks.BackupAndRestore(folder / "backup"),
        keras.callbacks.ModelCheckpoint(folder / "checkpoints" / "epoch-{epoch}.keras"),
        Losses(folder / f"losses-{me}.jsonl", failure, folder / "backup"),
    ]
    model.fit(x, y, batch_size=8, epochs=EPOCHS, shuffle=False, callbacks=callbacks, verbose=2)

    model.save(folder / "whole.keras")
    predicted = model.predict(x[:12], batch_size=8, verbose=0)
    loaded = keras.models.load_model(folder / "whole.keras")
    (experts,) = [v for v in model.trainable_variables if v.shape == (4, 8, 16)]
    results = {
        "predicted": predicted.tolist(),
        "loaded": float(np.abs(loaded.predict(x[:12], verbose=0) - predicted).max()),
        "evaluated": model.evaluate(x, y, batch_size=8, verbose=0),
        "parts": [list(p.shape) for p in dtensor.unpack(experts._value.read_value())],
        "devices": len(tf.config.list_logical_devices("CPU")),
    }
    (folder / f"results-{me}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
