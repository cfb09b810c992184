"""Benchmarks run, and their figures that do not depend on the machine are as promised."""

import csv
import subprocess
import sys

import pytest

from conftest import ROOT

FOLDER = ROOT / "benchmarks"
FILES = ("one", "shards")


def run(script, *options):
    command = [sys.executable, str(FOLDER / script), *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
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


@pytest.mark.slow
def test_distribution_prints_all_tables_and_sends_what_is_estimated():
    result = run("distribution.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout
    for title in ("Memory;", "toy: a plain step of", "over plain", "to first step", "targets met"):
        assert title in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    sent = {row[1]: row[2:] for row in rows if len(row) == 5 and row[0] == "expert=2"}
    assert sent["all-to-all"] == ["4", *2 * [sent["all-to-all"][1]]]
    assert sent["all-gather"][1] == sent["all-gather"][2]
    given, theory = (int(value.replace(",", "")) for value in sent["all-reduce"][1:])
    assert theory <= given < 1.01 * theory  # and sums of losses and statistics
    held = {row[1]: row[2:4] for row in rows if len(row) == 5 and row[0] == "8"}
    assert held.keys() == {"expert=1", "expert=2"}
    for measured, theory in held.values():
        assert measured == theory


@pytest.mark.slow
def test_a_model_built_in_place_never_stands_whole_in_a_process():
    result = run("placing.py", "--experts", "16")
    assert result.returncode == 0, result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["16"])
    experts, part, whole_first, in_place = map(float, row[1:])
    # 16 layers of 16 experts of 2 * 256 * 1024 weights and 1024 + 256 biases, 4 bytes each.
    assert experts == round(16 * 16 * (2 * 256 * 1024 + 1280) * 4 / 2**20)
    assert part < in_place < experts < whole_first


@pytest.mark.slow
def test_loading_prints_its_table_and_needs_little_more_than_the_model(tmp_path):
    result = run("loading.py", "--short", "--seed", "3", "--folder", str(tmp_path))
    assert result.returncode == 0, result.stderr
    # Table 32128 x 256; 20 blocks' attentions, of which 4 across; 4 dense and 4 sparse layers with
    # 8 experts; routers, biases and norms are below the rounding of 1 MiB.
    weights = 4 * (32128 * 256 + 12 * 4 * 256**2 + (4 + 4 * 8) * 2 * 256 * 1024) / 2**20
    assert f"{weights:.0f} MiB of weights, seed 3" in result.stdout
    rows = [x.split() for x in result.stdout.splitlines() if x.startswith(("float32", "bfloat16"))]
    assert [row[:2] for row in rows] == [[d, f] for d in ("float32", "bfloat16") for f in FILES]
    for row in rows:
        stored, peak = (float(value) for value in row[2:4])
        assert stored == pytest.approx(weights * (1 if row[0] == "float32" else 0.5), abs=1)
        # Less than a second copy: 100 MiB are for what Keras and TensorFlow need for any model.
        assert weights < peak < 1.3 * weights + 100


@pytest.mark.slow
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


@pytest.mark.slow
def test_task_correlation_prints_its_tables_and_goes_on(tmp_path):
    options = ("task_correlation.py", "--short", "--output", str(tmp_path))
    first = run(*options)
    assert first.returncode == 0, first.stderr
    for title in ("Test loss", "less that of shared_bottom", "Spread", "Runs by final loss, p"):
        assert title in first.stdout
    with open(tmp_path / "losses.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"shared_bottom", "omoe", "mmoe"}
    assert len(rows) == 3 * 2 * 2  # models, correlations, runs
    tables = first.stdout[first.stdout.index("=== ") :]
    again = run(*options)  # nothing is trained anew
    assert again.stdout[again.stdout.index("=== ") :] == tables
    assert again.stdout.count(": 0 s") == 6


@pytest.mark.slow
def test_transformer_prints_a_row_for_each_model():
    result = run("transformer.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout
    for name in ("dense twin", "switch, 8 experts", "gshard, 8 experts"):
        (line,) = (x for x in result.stdout.splitlines() if x.startswith(name))
        assert float(line.split()[-1]) > 0
    assert float(line.split()[-2].replace(",", "")) > 0 and "(0.75" not in result.stdout


@pytest.mark.slow
def test_switch_scaling_compares_with_the_dense_model_and_goes_on(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"def f{n}(x):\n    return x + {n}\n\n" for n in range(400)))
    options = ("switch_scaling.py", "--short", "--data", text, "--output", tmp_path / "out")
    first = run(*map(str, options))
    assert first.returncode == 0, first.stderr
    assert "seed 0" in first.stdout and "its figures mean nothing" in first.stdout
    with open(tmp_path / "out" / "table.csv", encoding="utf-8", newline="") as file:
        dense, experts = csv.DictReader(file)
    with open(tmp_path / "out" / "losses.csv", encoding="utf-8", newline="") as file:
        curves = list(csv.DictReader(file))
    assert [int(row["step"]) for row in curves] == [3, 6, 9, 12]
    # In 2 of 4 blocks 3 more layers of 16 x 64 twice, a router of 16 x 4, and some seeds.
    more = 2 * (3 * 2 * 16 * 64 + 16 * 4)
    assert 0 <= int(experts["parameters"]) - int(dense["parameters"]) - more < 20
    for row, name in ((dense, "dense"), (experts, "4 experts")):
        assert row["model"] == name
        for quarter, curve in zip(("25%", "50%", "75%", "100%"), curves, strict=True):
            assert float(row[f"loss_{quarter}"]) == pytest.approx(float(curve[name]), abs=6e-4)
    assert dense["steps"] == "12" and float(dense["time"]) == 1.0
    reached = [
        int(c["step"]) for c in curves if float(c["4 experts"]) <= float(curves[-1]["dense"])
    ]
    if reached:
        assert reached[0] - 3 <= int(experts["steps"]) <= reached[0]
    else:
        assert experts["steps"] == "never"
    again = run(*map(str, options))  # nothing is trained anew
    assert "Epoch" not in again.stdout and "4 experts" in again.stdout


@pytest.mark.slow
def test_generation_writes_the_same_text_with_and_without_a_cache():
    result = run("generation.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout and "its figures mean nothing" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.endswith("over cache")]
    ratios = [float(line[-3]) for line in lines]
    assert len(ratios) == 3 and ratios[0] == 1.0 and min(ratios) > 0


@pytest.mark.slow
def test_routing_callback_compares_epochs_with_it_and_without():
    result = run("routing_callback.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout and "its figures mean nothing" in result.stdout
    for router in ("switch", "gshard"):
        (line,) = (x.split() for x in result.stdout.splitlines() if x.startswith(router))
        step, over, inside = (float(value.rstrip("%")) for value in line[1:4])
        # Of three steps much is spent in the callback: it is really at work.
        assert step > 0 and over > 0 and 1 < inside < 100 and "met" not in line[-1]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_unseen_ids_score_near_the_base_rate():
    result = run("unseen_ids.py", "--short")
    assert result.returncode == 0, result.stderr
    found = dict(line.split(": ") for line in result.stdout.splitlines() if ": " in line)
    for kind in ("category", "hashed"):
        distance, loss, area = (float(x) for x in found[f"{kind}, rate 0.02"].split())
        before = [float(x) for x in found[f"{kind}, before"].split()]
        assert distance < 0.08 and loss < 0.72
        assert area > before[2] - 0.01  # ids that were seen are none the worse
