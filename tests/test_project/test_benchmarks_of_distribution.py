"""Benchmarks of meshes and of loading run, and their figures are those of the theory."""

import pytest

from benchmark_runs import run

pytestmark = [pytest.mark.slow, pytest.mark.nightly]
FILES = ("one", "shards")


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


def test_a_model_built_in_place_never_stands_whole_in_a_process():
    result = run("placing.py", "--experts", "16")
    assert result.returncode == 0, result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["16"])
    experts, part, whole_first, in_place = map(float, row[1:])
    # 16 layers of 16 experts of 2 * 256 * 1024 weights and 1024 + 256 biases, 4 bytes each.
    assert experts == round(16 * 16 * (2 * 256 * 1024 + 1280) * 4 / 2**20)
    assert part < in_place < experts < whole_first


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
