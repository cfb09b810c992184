"""A training run for test_cluster.py: the same program in one process and in several."""

import argparse
import json
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
from tensorflow.experimental import dtensor

from moe_zoo.distribution import ExpertParallel, virtual_devices
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.processes import process_count, process_index
from moe_zoo.routers import SwitchRouter

BATCH, STEPS, EPOCHS = 8, 4, 3
FAILING_STEP = 2 * STEPS + 1  # in the third epoch
FAILURES = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "frozen": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "stuck": lambda: time.sleep(1000),
}
OTHER_FAILURES = ("killed-in-save", "other-seed", "other-data")


@keras.saving.register_keras_serializable("cluster_worker")
class Head(keras.layers.Dense):
    """A layer that is killed while it is saved, once `killed` says so."""

    killed = False

    def save_own_variables(self, store):
        if self.killed:
            FAILURES["killed"]()
        super().save_own_variables(store)


class Losses(keras.callbacks.Callback):
    """Writes step, loss and time to a file of this process; fails when and as it is told to."""

    def __init__(self, path, failure):
        super().__init__()
        self.path, self.failure = path, failure
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = self.epoch * STEPS + batch
        with open(self.path, "a", encoding="utf-8") as file:
            print(json.dumps([step, float(logs["loss"]), time.time()]), file=file)
        if self.failure and step == FAILING_STEP:
            self.model.layers[-1].killed = self.failure == "killed-in-save"
            if self.failure in FAILURES:
                FAILURES[self.failure]()


def make_data(seed=7):
    random = np.random.default_rng(seed)
    x = random.normal(size=(STEPS * BATCH, 5, 8)).astype("float32")
    return x, random.normal(size=(STEPS * BATCH, 5, 3)).astype("float32")


def make_model(seed=3):
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((5, 8))
    mixture = MoE(SwitchRouter(capacity_factor=4.0), FeedForwardExperts(4, 16))
    model = keras.Model(tokens, Head(3)(mixture(tokens)))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model


def train(parallel, folder, failure=""):
    """Train, save, load, predict; write what comes out to a file of this process."""
    me = process_index()
    x, y = make_data(seed=me if failure == "other-data" else 7)
    model = make_model(seed=me if failure == "other-seed" else 3)
    parallel.distribute(model)
    callbacks = [
        Losses(folder / f"losses-{me}.jsonl", failure),
        keras.callbacks.BackupAndRestore(folder / "backup"),
        keras.callbacks.ModelCheckpoint(folder / "checkpoints" / "{epoch}.keras"),
    ]
    model.fit(x, y, BATCH, epochs=EPOCHS, shuffle=False, callbacks=callbacks, verbose=2)
    model.save(folder / "together.keras")
    loaded = keras.models.load_model(folder / "together.keras")
    model.save_weights(folder / f"of-process-{me}.weights.h5")  # each its own, to see who writes
    predicted = model.predict(x[:12], batch_size=BATCH, verbose=0)
    refused = ""
    if process_count() > 1:  # alone Keras asks
        try:
            model.save(folder / "together.keras", overwrite=False)
        except FileExistsError as error:
            refused = str(error)
    (kernel,) = [v for v in model.trainable_variables if v.shape == (4, 8, 16)]
    results = {
        "evaluated": model.evaluate(x, y, batch_size=BATCH, verbose=0),
        "predicted": predicted.tolist(),
        "loaded": loaded.predict(x[:12], verbose=0).tolist(),
        "refused": refused,
        "parts": [list(part.shape) for part in dtensor.unpack(kernel._value.read_value())],
    }
    (folder / f"results-{me}.json").write_text(json.dumps(results), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("meshes", nargs="+")
    parser.add_argument("--devices", type=int, default=1, help="of this process")
    parser.add_argument("--fails", default="", choices=[*FAILURES, *OTHER_FAILURES])
    parser.add_argument("--which", type=int, default=1, help="number of the process that fails")
    parser.add_argument("--timeout", type=float, default=600.0)
    options = parser.parse_args()
    virtual_devices(options.devices)
    for mesh in options.meshes:
        parallel = ExpertParallel(mesh, collective_timeout=options.timeout)
        folder = options.folder / mesh
        folder.mkdir(parents=True, exist_ok=True)
        train(parallel, folder, options.fails if process_index() == options.which else "")


if __name__ == "__main__":
    main()
