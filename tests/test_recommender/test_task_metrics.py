"""Metrics of tasks against what their definitions count."""

import math

import numpy as np
import pytest

from moe_zoo.training.recipes.recommender.metrics import (
    accuracy,
    area_under_curve,
    calibration,
    log_loss,
    root_mean_square,
)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_area_under_curve_counts_pairs(decimals):
    """With many ties, with some, and with none."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 97)
    scores = np.round(random.normal(size=97) + labels, decimals)
    won = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive in scores[labels == 1]
        for negative in scores[labels == 0]
    ]
    assert area_under_curve(labels, scores) == pytest.approx(np.mean(won), abs=1e-12)


def test_one_class_has_no_area():
    assert math.isnan(area_under_curve([1, 1], [0.2, 0.3]))


def test_log_loss():
    # -(ln 0.8 + ln 0.4) / 2 of the probabilities 0.8 of a 1 and 0.6 of a 0
    expected = -(math.log(0.8) + math.log(0.4)) / 2
    assert log_loss([1, 0], [0.8, 0.6]) == pytest.approx(expected)
    assert log_loss([1, 0], [[0.2, 0.8], [0.4, 0.6]]) == pytest.approx(expected)
    assert math.isfinite(log_loss([1], [0.0]))


def test_means():
    assert root_mean_square([1, 2], np.array([4.0, 6.0])) == pytest.approx(math.sqrt(12.5))
    assert calibration([1, 0, 1], [0.5, 0.5, 0.5]) == 0.75
    assert math.isnan(calibration([0, 0], [0.5, 0.5]))
    assert accuracy([2, 0], [[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]]) == 0.5
