"""Shared-bottom, OMoE and MMoE on the synthetic tasks of the MMoE paper, over many runs.

    loss          test loss of each model at several correlations p of the two tasks (figure 4)
    trainability  how the final losses of a model's runs are spread (figure 5)

Every run has data and initial weights of its own, the same data for all models: 10,000 rows to
train on, 10,000 to test on; inputs of 100, experts of 16, towers of 8, and for shared-bottom 113
units, so that all have 13,056 weights before the towers' outputs. The paper leaves the constants
of its data, the size of its data sets and the number of steps open: orders and spreads can be
compared with its figures, losses cannot.

    python benchmarks/task_correlation.py             # 20 runs each, some 10 minutes
    python benchmarks/task_correlation.py --runs 200  # as many as the paper has
    python benchmarks/task_correlation.py --short     # to see that it works
"""

import argparse
import csv
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.experts import MLPExperts
from moe_zoo.files import new_file, write_file
from moe_zoo.layers import MMoE, SharedBottom
from moe_zoo.terminal import format_table
from moe_zoo.training.datasets.synthetic_tasks import VARIANTS, draw_tasks
from moe_zoo.training.recipes.recommender.interval import format_interval

DIM, EXPERTS, UNITS, TOWER, WIDTH = 100, 8, 16, 8, 113
MODELS = {
    "shared_bottom": lambda: SharedBottom((WIDTH,), num_tasks=2),
    "omoe": lambda: MMoE(MLPExperts(EXPERTS, (UNITS,)), shared_gate=True, num_tasks=2),
    "mmoe": lambda: MMoE(MLPExperts(EXPERTS, (UNITS,)), num_tasks=2),
}


def main():
    """Run what is missing, print the tables, write all losses as CSV."""
    args = parse_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}; data {args.variant}, {args.runs} runs, {args.epochs} epochs "
        f"of {args.rows:,} rows, batch {args.batch_size}, Adam"
    )
    everything = {}
    for rate in args.learning_rates:
        losses = {}
        for name in MODELS:
            runner = Runner(name, rate, args)
            for correlation in args.correlations:
                losses[name, correlation] = runner.losses(correlation)
        print(f"\n=== Learning rate {rate}")
        print_losses(losses, args)
        print_spreads(losses, args)
        everything[rate] = losses
    if len(everything) > 1:
        print_best(everything, args)
    write_csv(everything, args.output / "losses.csv")


def parse_arguments():
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="of each model and correlation")
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--variant", choices=VARIANTS, default="drawbridge")
    parser.add_argument("--rows", type=int, default=10_000, help="to train on, and to test on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-3, 1e-2])
    parser.add_argument("--output", type=Path, default=Path("runs/task_correlation"))
    parser.add_argument("--short", action="store_true", help="2 short runs each")
    args = parser.parse_args()
    if args.short:
        args.runs, args.rows, args.epochs, args.learning_rates = 2, 400, 2, [1e-2]
    if args.runs < 2:
        parser.error("--runs takes at least 2: a spread needs them")
    return args


class Runner:
    """Trains one model many times, each time from new weights on new data.

    A graph is made once: a run takes the weights of a model that is drawn anew.
    """

    def __init__(self, name, rate, args):
        self.name, self.rate, self.args = name, rate, args
        self.model = None
        settings = {key: value for key, value in vars(args).items() if key not in NOT_DECISIVE}
        self.path = args.output / f"{name}-{rate}.json"
        held = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.finished = held.get("losses", {}) if held.get("settings") == settings else {}
        self.settings = settings

    def losses(self, correlation):
        """`[runs]`, test losses; those of an earlier call are not computed anew."""
        finished = self.finished.setdefault(str(correlation), [])
        start = time.perf_counter()
        for run in range(len(finished), self.args.runs):
            finished.append(self.run(correlation, run))
            text = json.dumps({"settings": self.settings, "losses": self.finished})
            write_file(self.path, text)
        seconds = time.perf_counter() - start
        print(f"  {self.name}, rate {self.rate}, p {correlation}: {seconds:.0f} s", flush=True)
        return np.array(finished[: self.args.runs])

    def run(self, correlation, run):
        """The mean over both tasks of the squared error on new rows."""
        args = self.args
        data = draw_tasks(2 * args.rows, correlation, DIM, args.variant, seed=run)
        fresh = build(self.name, self.rate, args, seed=run)
        if self.model is None:
            self.model = fresh
        else:
            self.model.set_weights(fresh.get_weights())
            for variable in self.model.optimizer.variables:
                if variable.name != "learning_rate":
                    variable.assign(tf.zeros_like(variable))
        order = np.random.default_rng(run).permuted(
            np.tile(np.arange(args.rows), (args.epochs, 1)), axis=1
        )
        inputs, labels = data.inputs[order.ravel()], data.labels[order.ravel()]
        self.model.fit(inputs, labels, args.batch_size, shuffle=False, verbose=0)
        predictions = self.model.predict(data.inputs[args.rows :], 5_000, verbose=0)
        return float(np.mean(np.square(predictions - data.labels[args.rows :])))


NOT_DECISIVE = ("runs", "correlations", "learning_rates", "output", "short")


def build(name, rate, args, seed):
    """The compiled model, with weights of this seed."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((DIM,))
    mixed = MODELS[name]()(inputs)
    outputs = []
    for task in range(2):
        hidden = keras.layers.Dense(TOWER, "relu")(mixed[:, task])
        outputs.append(keras.layers.Dense(1)(hidden))
    model = keras.Model(inputs, keras.layers.Concatenate()(outputs))
    steps = min(100, args.rows // args.batch_size)
    model.compile(
        keras.optimizers.Adam(rate), "mse", jit_compile=False,
        steps_per_execution=steps,
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    return model


# === Tables ===


def print_losses(losses, args):
    """Mean and 95 % interval of each model at each correlation, and paired differences."""
    print("\nTest loss, mean and 95 % interval over runs")
    columns = {"model": "model"} | {p: f"p = {p}" for p in args.correlations}
    rows = [
        {"model": name} | {p: format_interval(losses[name, p]) for p in args.correlations}
        for name in MODELS
    ]
    print(format_table(rows, columns))
    print("\nThe same, less that of shared_bottom on the same data")
    rows = [
        {"model": name}
        | {
            p: format_interval(losses[name, p] - losses["shared_bottom", p])
            for p in args.correlations
        }
        for name in ("omoe", "mmoe")
    ]
    print(format_table(rows, columns))


def print_best(everything, args):
    """Each model at the learning rate with its lowest mean loss, which the paper searches too."""
    print("\n=== Each model at its best learning rate; less shared_bottom is paired by data")
    rows = []
    for p in args.correlations:
        best = {
            name: min(everything, key=lambda rate: everything[rate][name, p].mean())
            for name in MODELS
        }
        base = everything[best["shared_bottom"]]["shared_bottom", p]
        for name, rate in best.items():
            losses = everything[rate][name, p]
            row = {"p": p, "model": name, "rate": rate, "loss": format_interval(losses)}
            if name != "shared_bottom":
                row["less"] = format_interval(losses - base)
            rows.append(row | {"sd": f"{losses.std(ddof=1):.4f}"})
    columns = {"p": "p", "model": "model", "rate": "rate", "loss": "test loss"}
    print(format_table(rows, columns | {"less": "less shared_bottom", "sd": "deviation"}))


def print_spreads(losses, args):
    """Standard deviation, quantiles and a histogram of final losses."""
    print("\nSpread of the final losses; the interval is of 2,000 bootstrap samples")
    rows = []
    for (name, p), values in losses.items():
        low, high = bootstrap(values)
        quantiles = np.quantile(values, [0, 0.5, 0.9])
        rows.append(
            {"p": p, "model": name, "sd": f"{values.std(ddof=1):.4f}"}
            | {"interval": f"{low:.4f} to {high:.4f}"}
            | dict(zip(("least", "median", "high"), (f"{q:.4f}" for q in quantiles), strict=True))
        )
    names = {"sd": "deviation", "interval": "95 %", "least": "least", "median": "median"}
    rows.sort(key=lambda row: row["p"])
    print(format_table(rows, {"p": "p", "model": "model", **names, "high": "90 % below"}))
    for p in args.correlations:
        print_histogram(p, {name: losses[name, p] for name in MODELS})


def bootstrap(values):
    """The 95 % interval of the standard deviation."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values)))
    return np.quantile(draws.std(axis=1, ddof=1), [0.025, 0.975])


def print_histogram(correlation, losses, bins=12):
    """How many runs of each model end in each interval of loss."""
    edges = np.histogram_bin_edges(np.concatenate(list(losses.values())), bins)
    print(f"\nRuns by final loss, p = {correlation}")
    for name, values in losses.items():
        counts, _ = np.histogram(values, edges)
        marks = "".join(" ▁▂▃▄▅▆▇█"[int(np.ceil(8 * c / max(counts.max(), 1)))] for c in counts)
        print(f"  {name:14} {edges[0]:.3f} {marks} {edges[-1]:.3f}")


def write_csv(everything, path):
    """One row for each run."""
    with new_file(path) as place, open(place, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["learning_rate", "model", "correlation", "run", "loss"])
        for rate, losses in everything.items():
            for (name, p), values in losses.items():
                writer.writerows((rate, name, p, run, loss) for run, loss in enumerate(values))


if __name__ == "__main__":
    main()
