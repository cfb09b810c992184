"""Format the results of several tasks, mixings and seeds as tables."""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moe_zoo.terminal import format_table

from .interval import format_interval
from .metrics import accuracy, area_under_curve, calibration, log_loss, root_mean_square

MEASURES: dict[str, dict[str, Callable]] = {
    "binary": {"auc": area_under_curve, "log_loss": log_loss, "calibration": calibration},
    "regression": {"rmse": root_mean_square},
    "classes": {"accuracy": accuracy, "log_loss": log_loss},
}
UNDEFINED = "undefined"
REASON = "undefined: the test part has labels of one class only, or none at all"


def task_metrics(kind: str, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float | None]:
    """Compute the metrics of a task over the rows that have its label.

    Args:
        kind: `"binary"`, `"regression"` or `"classes"`.
        labels: Labels, NaN where missing, `<float>[rows]`.
        outputs: Outputs of the model, `<float>[rows]` or `<float>[rows, classes]`.

    Returns:
        Metrics by name; `None` for an undefined metric, since JSON has no NaN.
    """
    known = np.isfinite(labels)
    values = {
        name: float(measure(labels[known], outputs[known])) if known.any() else np.nan
        for name, measure in MEASURES[kind].items()
    }
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def result_table(
    results: Mapping[str, Sequence[dict[str, Any]]], tasks: Mapping[str, dict[str, Any]]
) -> str:
    """Format the metrics of each mixing with their intervals over seeds, parameters and time.

    Args:
        results: Results by mixing, one for each seed.
        tasks: Descriptions of the tasks by name.
    """
    names = [
        (task, metric)
        for task, data in tasks.items()
        for metric in list(MEASURES[data["kind"]])[:2]
    ]
    rows = []
    for mixing, runs in results.items():
        row: dict = {"mixing": mixing, "parameters": runs[0]["parameters"]}
        row["seconds"] = statistics.median(run["seconds"] for run in runs)
        for task, metric in names:
            values = [run["metrics"][task][metric] for run in runs]
            row[task, metric] = UNDEFINED if None in values else format_interval(values)
        rows.append(row)
    columns: dict[Any, str] = {"mixing": "mixing"}
    columns |= {pair: " ".join(pair).replace("_", " ") for pair in names}
    seeds = len(next(iter(results.values())))
    title = f"Test part, mean and 95 % interval over {seeds} seeds" if seeds > 1 else "Test part"
    table = format_table(rows, columns | {"parameters": "parameters", "seconds": "seconds"})
    note = f"\n{REASON}" if UNDEFINED in table else ""
    return f"{title}\n{table}{note}"


def as_csv(results: Mapping[str, Sequence[dict[str, Any]]], tasks: Mapping[str, Any]) -> str:
    """Format the results as CSV, with a line for each mixing, seed, task and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["mixing", "seed", "task", "metric", "value", "parameters", "seconds"])
    for mixing, runs in results.items():
        for seed, run in enumerate(runs):
            for task in tasks:
                for metric, value in run["metrics"][task].items():
                    writer.writerow(
                        [mixing, seed, task, metric, value, run["parameters"], run["seconds"]]
                    )
    return text.getvalue()


def gate_table(gates: Mapping[str, Sequence[float]]) -> str:
    """Format the mean gate of each expert for each task; empty without gates.

    Args:
        gates: Mean gates by the name of the statistics.
    """
    if not gates:
        return ""
    size = max(map(len, gates.values()))
    columns: dict[Any, str] = {"task": "gate of"} | {e: f"expert {e}" for e in range(size)}
    rows = [
        {"task": name} | {e: f"{value:.3f}" for e, value in enumerate(values)}
        for name, values in gates.items()
    ]
    return format_table(rows, columns)
