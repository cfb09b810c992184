"""Perplexity of the LSTM language model against the number of experts, and of its dense baseline.

All models see the same text in the same order for the same number of steps, at the same FLOPs per
token except for the router's. Each run has its folder: the same command resumes where it was
stopped.

    python benchmarks/language_model.py               # 4, 8, 32 and 128 experts, 3 seeds: hours
    python benchmarks/language_model.py --experts 32  # what `make train` does, with 3 seeds
    python benchmarks/language_model.py --short       # a minute, to see that it works
"""

import argparse
import csv
import dataclasses
import os
import platform
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from moe_zoo.files import new_file
from moe_zoo.terminal import format_table
from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.recipes.recommender.interval import mean_interval

BASELINE = "dense baseline"
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "perplexity": "test perplexity",
    "interval": "95 %",
    "change": "against the baseline",
    "change_interval": "95 %",
    "load_cv": "load CV",
    "dead_experts": "dead",
    "tokens_per_second": "tokens/s",
}


def main():
    """Run, print the table, write it as CSV."""
    options = parse()
    settings = LSTMSettings(
        steps=options.steps,
        steps_per_epoch=min(options.steps, 100),
        router=options.router,
        data=options.data,
        learning_rate=options.learning_rate,
    )
    runs = {BASELINE: []}
    for seed in range(options.seeds):
        runs[BASELINE].append(run(dataclasses.replace(settings, seed=seed), options, dense=True))
        for experts in options.experts:
            sized = dataclasses.replace(settings, seed=seed, num_experts=experts)
            runs.setdefault(f"{experts} experts", []).append(run(sized, options))
    rows = [summary(name, results, runs[BASELINE]) for name, results in runs.items()]
    print(
        f"\n{options.steps} steps, seeds 0 to {options.seeds - 1}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}\n"
    )
    print(format_table(rows, COLUMNS))
    with (
        new_file(options.output / "perplexity.csv") as place,
        open(place, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def parse():
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=numbers, default=[4, 8, 32, 128], help="such as 4,8,32")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 (default 3)")
    parser.add_argument("--steps", type=int, default=LSTMSettings.steps)
    parser.add_argument("--learning-rate", type=float, default=LSTMSettings.learning_rate)
    parser.add_argument("--router", default=LSTMSettings.router)
    parser.add_argument("--data", help="text (default: Python's own library)")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_language_model"))
    parser.add_argument("--short", action="store_true", help="20 steps, 4 experts, 2 seeds")
    options = parser.parse_args()
    if options.short:
        options.steps, options.experts, options.seeds = 20, [4], 2
    if options.seeds < 2:
        parser.error("--seeds takes at least 2: an interval needs them")
    return options


def numbers(text):
    """`"4,8"` -> `[4, 8]`."""
    return [int(part) for part in text.split(",")]


def run(settings, options, dense=False):
    """The result row of one run, trained or read back."""
    from moe_zoo.training import LSTMRecipe, Run

    name = "dense" if dense else f"experts_{settings.num_experts}"
    folder = options.output / f"{name}_steps_{settings.steps}_seed_{settings.seed}"
    print(f"\n==> {folder.name}", flush=True)
    _, row = Run(LSTMRecipe(settings), folder).train("dense" if dense else "mixture")
    print(f"test perplexity {row['perplexity']:.3f}", flush=True)
    return row


def summary(name, results, baselines):
    """Mean and 95 % interval over seeds; the change against the baseline is paired by seed."""
    changes = [
        100 * (row["perplexity"] / baseline["perplexity"] - 1)
        for row, baseline in zip(results, baselines, strict=True)
    ]
    perplexities = [row["perplexity"] for row in results]
    mean, half = mean_interval(perplexities)
    row = {
        "model": name,
        "parameters": results[0]["parameters"],
        "perplexity": f"{mean:.3f}",
        "interval": f"± {half:.3f}",
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in results),
    }
    if results is not baselines:
        mean, half = mean_interval(changes)
        row["change"] = f"{mean:+.2f} %"
        row["change_interval"] = f"± {half:.2f}"
        row["load_cv"] = statistics.mean(row["load_cv"] for row in results)
        row["dead_experts"] = max(row["dead_experts"] for row in results)
    return row


if __name__ == "__main__":
    main()
