"""Mixings of one size, and what becomes of settings."""

import numpy as np
import pytest

from moe_zoo.training.recipes.recommender.mixings import make_mixing, network_weights, share_experts
from moe_zoo.training.recipes.recommender.settings import MIXINGS, RecommenderSettings

D, T = 100, 2


def kernels(layer):
    """Weights of networks: neither biases, nor gates, nor stitches."""
    layer.build((None, D))
    found = [v for v in layer.trainable_variables if len(v.shape) == 3 and "gate" not in v.path]
    return sum(int(np.prod(v.shape)) for v in found)


@pytest.mark.parametrize("name", MIXINGS)
def test_all_have_as_many_weights(name):
    """In the paper's setting 8 experts of 16 units on 100 inputs, and towers of 8."""
    layer = make_mixing(name, RecommenderSettings(), T, D)
    layer.set_tasks(("click", "buy"))
    width = layer.compute_output_shape((None, D))[-1]
    weights = kernels(layer) + T * width * 8
    paper = 8 * 100 * 16 + 16 * 8 * 2
    assert paper == 13056
    # The nearest whole number of units: half a unit more or less of every network.
    assert abs(weights - paper) <= {"mmoe": 0, "omoe": 0}.get(name, 0.5 * 8 * (D + 2 * width + 8))
    if name == "shared_bottom":
        assert width == 113 == round(paper / (100 + 8 * 2))


def test_deeper_experts_keep_their_proportions():
    settings = RecommenderSettings(expert_units="40,20", tower_units="8,4")
    layer = make_mixing("shared_bottom", settings, T, D)
    first, second = layer.hidden_dims
    assert abs(first - 2 * second) <= 1
    budget = 8 * network_weights(D, (40, 20)) + T * 8 * 20
    assert network_weights(D, layer.hidden_dims) + T * 8 * second == pytest.approx(budget, rel=0.01)


@pytest.mark.parametrize(
    ("experts", "tasks", "own", "shared"), [(8, 2, 3, 2), (3, 2, 1, 1), (9, 2, 4, 1), (8, 3, 2, 2)]
)
def test_experts_of_tasks_and_of_all(experts, tasks, own, shared):
    assert share_experts(experts, tasks) == (own, shared)
    assert tasks * own + shared == experts


def test_too_few_experts_for_ple():
    with pytest.raises(ValueError, match="num_experts=2. Take 3 or more"):
        make_mixing("ple", RecommenderSettings(num_experts=2), T, D)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"expert_units": "16,x"},
            "units of one or more layers, such as 64,32. Received: expert_units",
        ),
        ({"tower_units": "0"}, "Received: tower_units='0'"),
        ({"mixing": "moe"}, "Received: mixing='moe'. The default is 'mmoe'."),
        ({"gate_dropout": 1.0}, "Received: gate_dropout=1.0"),
        ({"epochs": 0}, "Received: epochs=0"),
    ],
)
def test_settings_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=".*") as caught:
        RecommenderSettings(**options)
    assert words in str(caught.value)
