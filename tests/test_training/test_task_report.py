"""Tables of results."""

import csv
import io

import numpy as np

from moe_zoo.training.recipes.recommender.report import (
    as_csv,
    gate_table,
    result_table,
    task_metrics,
)

TASKS = {"click": {"kind": "binary"}, "rating": {"kind": "regression"}}


def result(auc, rmse):
    metrics = {"click": {"auc": auc, "log_loss": 0.5, "calibration": 1.0}, "rating": {"rmse": rmse}}
    return {"metrics": metrics, "parameters": 1234, "seconds": 2.0}


def test_missing_labels_are_left_out():
    labels, outputs = np.array([1.0, np.nan, 0.0]), np.array([0.9, 0.1, 0.2])
    assert task_metrics("binary", labels, outputs)["auc"] == 1.0
    assert task_metrics("regression", labels, outputs)["rmse"] == np.sqrt((0.1**2 + 0.2**2) / 2)


def test_what_is_undefined_is_said():
    metrics = task_metrics("binary", np.ones(3), np.full(3, 0.5))
    assert metrics["auc"] is None and metrics["calibration"] == 0.5
    nothing = task_metrics("regression", np.full(3, np.nan), np.zeros(3))
    assert nothing == {"rmse": None}
    table = result_table({"mmoe": [result(None, 1.0)]}, TASKS)
    assert table.splitlines()[-1].startswith("undefined: the test part has labels of one class")


def test_table_and_csv():
    results = {"mmoe": [result(0.8, 1.0), result(0.9, 1.2)], "ple": [result(0.7, 2.0)] * 2}
    table = result_table(results, TASKS).splitlines()
    assert table[0] == "Test part, mean and 95 % interval over 2 seeds"
    assert table[1].split("  ")[0] == "mixing" and "click auc" in table[1]
    assert "0.8500 ± 0.6353" in table[3]  # 12.706 * 0.0707 / sqrt(2)
    rows = list(csv.DictReader(io.StringIO(as_csv(results, TASKS))))
    assert len(rows) == 4 * 4
    assert rows[0] == {
        "mixing": "mmoe", "seed": "0", "task": "click", "metric": "auc", "value": "0.8",
        "parameters": "1234", "seconds": "2.0",
    }  # fmt: skip


def test_gates():
    assert gate_table({}) == ""
    assert gate_table({"mmoe_click": [0.25, 0.75]}).splitlines()[2].split() == [
        "mmoe_click", "0.250", "0.750",
    ]  # fmt: skip
