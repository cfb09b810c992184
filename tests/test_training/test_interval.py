"""Means with their intervals."""

import math

import numpy as np
import pytest

from moe_zoo.training.recipes.recommender.interval import format_interval, mean_interval, student


@pytest.mark.parametrize(
    (
        "degrees",
        "quantile",
    ),  # of tables of Student's t, 97.5 %; the expansion is 0.11 % off at 3 degrees
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (199, 1.972)],
)
def test_quantiles(degrees, quantile):
    assert student(degrees) == pytest.approx(quantile, rel=1.5e-3)


def test_an_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(3).normal(size=(4000, 5))
    found = sum(abs(mean) < half for mean, half in map(mean_interval, draws))
    assert found / len(draws) == pytest.approx(0.95, abs=0.012)  # over three deviations


def test_one_value_has_no_interval():
    mean, half = mean_interval([7.0])
    assert mean == 7.0 and math.isnan(half)
    assert format_interval([7.0], 1) == "7.0"
