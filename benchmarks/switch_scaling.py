"""Loss of a Switch Transformer against the number of experts, and of its dense baseline.

The headline of Fedus et al. (2022), at the scale of this machine: a decoder-only Transformer learns
Python's own library; its experts make it larger, at the same FLOPs per token. All models see the
same text in the same order for the same number of steps, at the same learning rate, which falls
with the inverse square root of the step, so that no step is better placed than others.

For each model: validation loss (nats per token) at a quarter, half, three quarters and the end of
the training; the first step, interpolated between validations, at which it reached the dense
model's final loss, and the time to that over the dense model's whole time. Times are from steps of
all models in random order, medians of ratios within a round, after the training.

Each run has its folder: the same command resumes where it was stopped.

    python benchmarks/switch_scaling.py               # 4, 16 and 64 experts: an hour
    python benchmarks/switch_scaling.py --experts 8   # one of them and the dense model
    python benchmarks/switch_scaling.py --short       # a minute, to see that it works
"""

import argparse
import csv
import dataclasses
import math
import os
import platform
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from language_model import numbers
from measure import interleaved, ratio

from moe_zoo.files import new_file
from moe_zoo.terminal import format_table
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings

DENSE = "dense"
QUARTERS = (0.25, 0.5, 0.75, 1.0)
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    **{f"loss_{quarter:.0%}": f"loss at {quarter:.0%}" for quarter in QUARTERS},
    "test_perplexity": "test perplexity",
    "steps": "steps to dense's end",
    "step_time": "step over dense's",
    "time": "time over dense's",
    "load_cv": "load CV",
    "dead_experts": "dead",
}


def main():
    """Run, print the table, write it and the curves as CSV."""
    options = parse()
    settings = TransformerLMSettings(
        width=options.width,
        steps=options.steps,
        steps_per_epoch=options.steps_per_epoch,
        learning_rate=options.learning_rate,
        schedule="inverse_sqrt",
        warmup_steps=options.warmup_steps,
        seed=options.seed,
        data=options.data,
        **options.batch,
    )
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, seed "
        f"{options.seed}\nwidth {settings.width}, {settings.num_layers} blocks, every other one "
        f"sparse, {settings.batch_size} x {settings.sequence_length} tokens, {settings.steps} "
        f"steps, learning rate {settings.learning_rate}{options.note}"
    )
    models, rows, batches = {}, {}, None
    for experts in (0, *options.experts):
        name = f"{experts} experts" if experts else DENSE
        sized = dataclasses.replace(settings, num_experts=experts) if experts else settings
        models[name], rows[name], batches = run(sized, options, dense=not experts)
    times = step_times(models, batches, options)
    summarize(rows, times, settings.steps_per_epoch)
    print("\n" + format_table(list(rows.values()), COLUMNS))
    write(options.output, rows, settings.steps_per_epoch)
    print(f"\nTable and curves: {options.output}")


def parse():
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=numbers, default=[4, 16, 64], help="such as 4,16,64")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="peak")
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15, help="of timing, at least 9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="text (default: Python's own library)")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_switch_scaling"))
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    options = parser.parse_args()
    options.steps_per_epoch, options.batch, options.note = 100, {}, ""
    if options.short:
        options.experts, options.steps, options.steps_per_epoch = [4], 12, 3
        options.width, options.warmup_steps, options.rounds = 16, 3, 2
        options.batch = {"batch_size": 2, "sequence_length": 16, "vocabulary_size": 300}
        options.note = "\nA short run with toy sizes: its figures mean nothing."
    elif options.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={options.rounds}.")
    return options


def run(settings, options, dense):
    """A model, trained or read back, its row with the losses of all validations, and batches."""
    from moe_zoo.training import Run, TransformerLMRecipe

    name = DENSE if dense else f"experts_{settings.num_experts}"
    folder = options.output / f"{name}_seed_{settings.seed}"
    print(f"\n==> {folder.name}", flush=True)
    recipe = TransformerLMRecipe(settings)
    variant = "dense" if dense else "mixture"
    model, result = Run(recipe, folder).train(variant)
    row = {
        "model": name.replace("experts_", "") + ("" if dense else " experts"),
        "parameters": result["parameters"],
        "test_perplexity": result["perplexity"],
        "load_cv": result.get("load_cv"),
        "dead_experts": result.get("dead_experts"),
        "losses": [math.log(epoch["val_perplexity"]) for epoch in result["history"]],
    }
    return model, row, recipe.training_batches(variant, step=0)


def step_times(models, batches, options):
    """Seconds of training steps of all models, interleaved. The models keep learning."""
    inputs, targets = next(iter(batches))
    steps = {
        name: lambda model=model: model.train_on_batch(inputs, targets)
        for name, model in models.items()
    }
    return interleaved(steps, options.rounds, np.random.default_rng(options.seed))


def summarize(rows, times, steps_per_epoch):
    """Fill in what compares a row with the dense model's."""
    target = rows[DENSE]["losses"][-1]
    for name, row in rows.items():
        losses = row["losses"]
        for quarter in QUARTERS:
            place = max(round(quarter * len(losses)), 1) - 1
            row[f"loss_{quarter:.0%}"] = f"{losses[place]:.3f}"
        steps, time = first_step(losses, target, steps_per_epoch), ratio(times, name, DENSE)
        row["step_time"] = time
        row["steps"] = "never" if steps is None else round(steps)
        whole = len(losses) * steps_per_epoch
        row["time"] = None if steps is None else time * steps / whole


def first_step(losses, target, steps_per_epoch):
    """The step at which a loss fell to the target, interpolated; `None` if it never did."""
    for place, loss in enumerate(losses):
        if loss <= target:
            before = losses[place - 1] if place else loss
            part = (before - target) / (before - loss) if before > loss else 1.0
            return (place + part) * steps_per_epoch
    return None


def write(folder, rows, steps_per_epoch):
    """`table.csv` and `losses.csv`."""
    with (
        new_file(folder / "table.csv") as place,
        open(place, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(COLUMNS), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows.values())
    with (
        new_file(folder / "losses.csv") as place,
        open(place, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["step", *rows])
        for place, losses in enumerate(zip(*(row["losses"] for row in rows.values()), strict=True)):
            writer.writerow([(place + 1) * steps_per_epoch, *(f"{x:.6f}" for x in losses)])


if __name__ == "__main__":
    main()
