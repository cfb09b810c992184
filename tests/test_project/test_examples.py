"""The scripts of examples/, run as users run them, with fewer steps."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    """The `main` of an example."""
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "lstm_language_model.py",
        "own_model.py",
        "recommender.py",
        "translation.py",
    }


@pytest.mark.slow
def test_own_model(capsys):
    # y = +-x1 +- x2 with x uniform in [-1, 1] has variance 2/3, the loss of knowing nothing.
    assert example("own_model.py")(examples=2048, epochs=8) < 0.2
    assert "moe: load" in capsys.readouterr().out


@pytest.mark.slow
def test_lstm_language_model(capsys):
    text = example("lstm_language_model.py")(steps=150)
    assert text.startswith("99 bottles on the wall, ")


@pytest.mark.slow
def test_recommender(capsys):
    metrics = example("recommender.py")(rows=4000, epochs=6)
    # Without a model the area is 0.5, and the deviation of 1 to 5 stars above 1.
    assert metrics["watch_auc"] > 0.95 and metrics["stars_rmse"] < 0.8
    assert "mmoe_stars: mean gate of each expert" in capsys.readouterr().out


@pytest.mark.slow
def test_translation(capsys):
    # Of 1,000 numbers a guess is right once in a thousand times.
    assert example("translation.py")(steps=250) > 0.3
    assert "'9 9 4' -> 'nine nine" in capsys.readouterr().out
