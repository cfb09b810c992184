"""What a training step of a large embedding takes: Keras' Adam and LazyAdam.

Time of a step and of all CPUs, of one embedding under a small network, interleaved in one run.
"Keras' table" is `keras.layers.Embedding`, which reads its whole table; the others read rows.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, ratio

from moe_zoo.models.recommender.features import RowEmbedding
from moe_zoo.terminal import format_table
from moe_zoo.training.optim.lazy_adam import LazyAdam

STEPS = {
    "adam": (keras.optimizers.Adam, RowEmbedding),
    "adam, Keras' table": (keras.optimizers.Adam, keras.layers.Embedding),
    "lazy_adam": (LazyAdam, RowEmbedding),
    "lazy_adam, Keras' table": (LazyAdam, keras.layers.Embedding),
}


def make_step(optimizer, embedding, rows, batch, rng):
    """A function that trains on one batch of ids."""
    ids = keras.Input([], dtype="int32")
    hidden = keras.layers.Dense(16, "relu")(embedding(rows, 16)(ids))
    model = keras.Model(ids, keras.layers.Dense(1)(hidden))
    model.compile(optimizer(1e-3), loss="mse", jit_compile=False)
    model.make_train_function()
    data = (rng.integers(0, rows, batch), rng.normal(size=(batch, 1)))
    batches = iter(tf.data.Dataset.from_tensors(data).repeat())
    return lambda: model.train_function(batches)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 4_000_000])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="seconds, to see that it runs")
    options = parser.parse_args()
    if options.short:
        options.rows, options.rounds = [1000, 100_000], 5
    rng = np.random.default_rng(options.seed)
    for rows in options.rows:
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(options.seed)
        steps = {name: make_step(*parts, rows, options.batch, rng) for name, parts in STEPS.items()}
        wall = interleaved(steps, options.rounds, rng)
        cpu = interleaved(steps, options.rounds, rng, time.process_time)
        table = [
            {
                "name": name,
                "wall": f"{1e3 * np.median(wall[name]):.1f}",
                "cpu": f"{1e3 * np.median(cpu[name]):.1f}",
                "ratio": f"{ratio(cpu, name, 'lazy_adam'):.1f}",
            }
            for name in steps
        ]
        columns = {"name": "", "wall": "ms", "cpu": "ms of CPU", "ratio": "CPU over lazy_adam"}
        print(f"\n{rows:,} rows of 16, batch {options.batch}, seed {options.seed}", flush=True)
        print(format_table(table, columns), flush=True)


if __name__ == "__main__":
    main()
