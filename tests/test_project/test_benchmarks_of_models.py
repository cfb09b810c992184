"""Benchmarks of models run, and print what they promise."""

import csv

import pytest

from benchmark_runs import run

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def test_transformer_prints_a_row_for_each_model():
    result = run("transformer.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout
    for name in ("dense baseline", "switch, 8 experts", "gshard, 8 experts"):
        (line,) = (x for x in result.stdout.splitlines() if x.startswith(name))
        assert float(line.split()[-1]) > 0
    assert float(line.split()[-2].replace(",", "")) > 0 and "(0.75" not in result.stdout


def test_switch_scaling_compares_with_the_dense_model_and_goes_on(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"def f{n}(x):\n    return x + {n}\n\n" for n in range(400)))
    options = ("switch_scaling.py", "--short", "--data", text, "--output", tmp_path / "out")
    first = run(*options)
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
    again = run(*options)  # nothing is trained anew
    assert "Epoch" not in again.stdout and "4 experts" in again.stdout


def test_generation_writes_the_same_text_with_and_without_a_cache():
    result = run("generation.py", "--short", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert "seed 3" in result.stdout and "its figures mean nothing" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.endswith("over cache")]
    ratios = [float(line[-3]) for line in lines]
    assert len(ratios) == 3 and ratios[0] == 1.0 and min(ratios) > 0


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


def test_unseen_ids_score_near_the_base_rate():
    result = run("unseen_ids.py", "--short")
    assert result.returncode == 0, result.stderr
    found = dict(line.split(": ") for line in result.stdout.splitlines() if ": " in line)
    for kind in ("category", "hashed"):
        distance, loss, area = (float(x) for x in found[f"{kind}, rate 0.02"].split())
        before = [float(x) for x in found[f"{kind}, before"].split()]
        assert distance < 0.08 and loss < 0.72
        assert area > before[2] - 0.01  # ids that were seen are none the worse
