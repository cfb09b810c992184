"""benchmarks/balancing.py: its table, and what the table has to show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "balancing.py"
ROW = re.compile(r"^\| ([\d.]+) +\| ([\d.]+) +\| here +\|(.*)\|$", re.MULTILINE)


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.nightly
def test_without_losses_the_load_collapses_and_with_any_it_does_not():
    result = run("--short", "--seed", "1")
    assert result.returncode == 0, result.stderr
    rows = {
        (float(importance), float(load)): [float(cell) for cell in cells.split("|")]
        for importance, load, cells in ROW.findall(result.stdout)
    }
    assert list(rows) == [(0, 0), (0.2, 0), (0, 0.2), (0.1, 0.1), (0.01, 0.01), (1, 1)]
    perplexity, _, load_cv, max_over_mean, _ = rows.pop((0, 0))
    # Uniform guessing has a perplexity of 128. With 4 of 32 experts in use for all tokens, max/mean
    # is 32 / 4 = 8 and CV(load) is 2.65; it collapses to that or nearly so, in every seed tried.
    assert perplexity < 30
    assert load_cv > 1.5
    assert max_over_mean > 4
    for _, balanced_importance_cv, balanced_load_cv, balanced_max, _ in rows.values():
        assert balanced_importance_cv < 1
        assert balanced_load_cv < load_cv / 3
        assert balanced_max < max_over_mean / 2


@pytest.mark.slow
def test_help_names_the_options():
    result = run("--help")
    assert result.returncode == 0
    for option in ("--seeds", "--seed", "--steps", "--experts", "--top-k", "--short"):
        assert option in result.stdout


@pytest.mark.slow
def test_too_few_steps_are_refused():
    result = run("--steps", "3")
    assert result.returncode == 2
    assert "Received: steps=3" in result.stderr
