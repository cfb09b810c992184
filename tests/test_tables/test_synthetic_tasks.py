"""The synthetic tasks of the MMoE paper: what their equations promise."""

import numpy as np
import pytest

from moe_zoo.training.datasets.synthetic_tasks import VARIANTS, draw_task_weights, draw_tasks


@pytest.mark.parametrize("correlation", [-1.0, -0.3, 0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cosine_of_the_weights_is_the_correlation(variant, correlation):
    tasks = draw_tasks(1, correlation, dim=17, variant=variant, seed=3)
    w1, w2 = tasks.weights
    lengths = np.linalg.norm(w1), np.linalg.norm(w2)
    assert lengths == pytest.approx([VARIANTS[variant]["scale"]] * 2, abs=1e-12)
    assert w1 @ w2 / np.prod(lengths) == pytest.approx(correlation, abs=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_linear_labels_correlate_as_their_weights_do(correlation):
    labels = draw_tasks(100_000, correlation, dim=11, variant="linear").labels
    pearson = np.corrcoef(labels.T)[0, 1]
    # The standard error of a correlation r of n rows is (1 - r^2) / sqrt(n) < 0.0032.
    assert pearson == pytest.approx(correlation, abs=0.013)


@pytest.mark.parametrize("variant", VARIANTS)
def test_label_correlation_grows_with_the_correlation_of_the_tasks(variant):
    correlations = [0.0, 0.25, 0.5, 0.75, 1.0]
    pearsons = [
        np.mean(
            [
                np.corrcoef(draw_tasks(20_000, p, 13, variant, seed).labels.T)[0, 1]
                for seed in range(3)
            ]
        )
        for p in correlations
    ]
    assert np.all(np.diff(pearsons) > 0)


def test_labels_follow_the_equation():
    variant = {"scale": 2.0, "sines": 3, "phases": "squares", "noise": 0.0}
    inputs, labels, weights = draw_tasks(7, 0.4, dim=5, variant=variant)
    for row in range(7):
        for task in range(2):
            z = float(weights[task] @ inputs[row])
            y = z + sum(np.sin(i * z + i**2) for i in (1, 2, 3))
            assert labels[row, task] == pytest.approx(y, abs=1e-5)


def test_noise_is_a_standard_deviation_and_the_last_that_is_drawn():
    quiet = {"scale": 0.3, "sines": 5, "phases": "normal", "noise": 0.0}
    clean = draw_tasks(50_000, 0.5, 3, quiet, seed=1)
    noisy = draw_tasks(50_000, 0.5, 3, quiet | {"noise": 0.1}, seed=1)
    np.testing.assert_array_equal(clean.inputs, noisy.inputs)
    assert np.std(noisy.labels - clean.labels) == pytest.approx(0.1, rel=0.01)


def test_a_seed_decides_everything():
    one, same, other = (draw_tasks(5, 0.5, seed=seed) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.inputs, other.inputs)
    assert not np.array_equal(one.weights, other.weights)
    assert one.inputs.dtype == one.labels.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"correlation": 1.5}, "from -1 to 1. Received: correlation=1.5. It is the cosine"),
        ({"rows": 0}, "at least 1. Received: rows=0"),
        ({"dim": 1}, "at least 2. Received: dim=1"),
        ({"variant": "paper"}, "one of google_research, drawbridge, linear.*variant='paper'"),
        ({"variant": {"scale": 1.0}}, "a dict of scale, sines, phases, noise.*Copy one of"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_tasks(**{"rows": 5, "correlation": 0.5} | arguments)


def test_directions_are_drawn():
    first, second = (
        draw_task_weights(0.0, 100, 1.0, np.random.default_rng(seed))[0] for seed in (0, 1)
    )
    assert abs(first @ second) < 0.5  # five standard deviations of 1 / sqrt(100)
