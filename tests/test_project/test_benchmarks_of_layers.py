"""Benchmarks of layers run, and their figures that do not depend on the machine are as promised."""

import csv

import pytest

from benchmark_runs import run

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def test_moe_layer_prints_all_tables_and_grows_neither_graph_nor_memory(tmp_path):
    path = tmp_path / "figures.csv"
    result = run("moe_layer.py", "--short", "--seed", "3", "--csv", str(path))
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout
    for title in (
        "E=8, top-2;",
        "E=8, top-1 (Switch);",
        "Graph nodes",
        "Peak memory",
        "targets met",
    ):
        assert title in result.stdout

    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    values = {(r["table"], r["mode"], r["name"], r["figure"]): float(r["value"]) for r in rows}
    assert len(values) == len(rows) and all(value > 0 for value in values.values())
    assert values["E=8, top-2", "train", "dense limit", "time over dense limit"] == 1.0
    for layer in ("capacity 1.0", "capacity 1.25", "dropless"):
        # 128 times as many experts: a node for each would be a ratio beyond 100.
        assert values["growth", "train", layer, "nodes, E=1024 over E=8"] < 1.05
    if "TensorFlow does not count it here" in result.stdout:  # no oneDNN
        return
    # The textbook's [T, E, C] is 1024 * 32 * 80 floats or 10 MiB, and it needs several of them; the
    # library's largest tensors are [E, C, F] and [E, D, F], 0.6 and 0.3 MiB.
    textbook = values["memory", "train", "one-hot einsum 1.25", "over dense limit"]
    assert values["memory", "train", "capacity 1.25", "over dense limit"] < textbook / 3


def test_mmoe_prints_both_tables():
    result = run("mmoe.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout and "its figures mean nothing" in result.stdout
    for title in ("64 units; one GEMM:", "16 units; one GEMM:", "Dense list over MMoE:"):
        assert title in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.endswith("over one GEMM")]
    ratios = [float(line[-4]) for line in lines]
    assert len(ratios) == 2 * 4 and all(ratio > 0 for ratio in ratios)
    assert ratios[::4] == [1.0, 1.0]


def test_routing_callback_compares_epochs_with_it_and_without():
    result = run("routing_callback.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout and "its figures mean nothing" in result.stdout
    for router in ("switch", "gshard"):
        (line,) = (x.split() for x in result.stdout.splitlines() if x.startswith(router))
        step, over, inside = (float(value.rstrip("%")) for value in line[1:4])
        # Of three steps much is spent in the callback: it is really at work.
        assert step > 0 and over > 0 and 1 < inside < 100 and "met" not in line[-1]


def test_lazy_adam_takes_as_long_with_a_hundred_times_the_rows():
    result = run("lazy_adam.py", "--short")
    assert result.returncode == 0, result.stderr
    rows = [line.rsplit(maxsplit=3) for line in result.stdout.splitlines() if "adam" in line]
    cpu = {}
    for name, *values in rows:
        if len(values) == 3 and values[1].replace(".", "").isdigit():
            cpu.setdefault(name.strip(), []).append(float(values[1]))
    # 100,000 rows are 6.4 MB in each of three tables: Adam moves all of them, LazyAdam 512 rows.
    assert cpu["lazy_adam"][1] < cpu["adam"][1] / 2
    assert cpu["lazy_adam"][1] < 5 * cpu["lazy_adam"][0]


@pytest.mark.parametrize(
    "script",
    [
        "moe_layer.py",
        "distribution.py",
        "mmoe.py",
        "generation.py",
        "transformer.py",
        "switch_scaling.py",
        "routing_callback.py",
    ],
)
def test_too_few_rounds_are_refused(script):
    result = run(script, "--rounds", "3")
    assert result.returncode == 2
    assert "Expected at least 9 rounds. Received: rounds=3." in result.stderr
