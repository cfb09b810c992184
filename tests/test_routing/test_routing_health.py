"""What is said of a layer's routing: when, how often, and with which advice."""

import numpy as np
import pytest

from moe_zoo.analysis.verdict import Finding, RoutingHealth, describe, wrongs
from moe_zoo.stats import SCALARS, RoutingStats
from moe_zoo.tensorboard import RoutingBounds

BOUNDS = RoutingBounds(steps=20, load_cv=0.9, dropped_fraction=0.25)


def stats(load, demand=None, losses=("balance_loss",)):
    load = np.array(load, float)
    demand = load if demand is None else np.array(demand, float)
    return RoutingStats(
        load=load,
        demand=demand,
        importance=demand / 2,
        dropped_fraction=float(1 - load.sum() / demand.sum()),
        load_cv=float(load.std() / load.mean()),
        importance_cv=0.0,
        entropy=0.0,
        dead_experts=[e for e, computed in enumerate(load) if computed == 0],
        tokens=int(demand.sum()),
        steps=1,
        losses=dict.fromkeys(losses, 0.1),
        pairs=None,
    )


def watch(health, load, start, step, layer="moe", **options):
    return health.watch(layer, stats(load, **options), SCALARS, start, step)


def test_a_dead_expert_is_told_once_it_has_been_dead_for_long():
    health = RoutingHealth(BOUNDS)
    assert watch(health, [5, 0, 5], 0, 10) == [
        Finding("expert 1 computed nothing, 10 of 20 steps", lasted=False, is_new=False)
    ]
    (told,) = watch(health, [5, 0, 5], 10, 20)
    assert told.lasted and told.is_new
    assert told.text == (
        "Expert 1 has computed nothing for 20 steps. Try a higher balance_loss_weight, or a lower "
        "learning rate."
    )
    (again,) = watch(health, [5, 0, 5], 20, 35)
    assert not again.is_new and "for 35 steps" in again.text


def test_an_expert_that_works_again_begins_anew():
    health = RoutingHealth(BOUNDS)
    watch(health, [5, 0, 5], 0, 15)
    assert watch(health, [5, 1, 5], 15, 30) == []
    (watched,) = watch(health, [5, 0, 5], 30, 45)
    assert not watched.lasted and watched.text.endswith(", 15 of 20 steps")
    (told,) = watch(health, [5, 0, 5], 45, 50)
    assert told.lasted


def test_an_expert_that_joins_the_dead_is_news():
    health = RoutingHealth(BOUNDS)
    assert watch(health, [4, 0, 4, 4, 4], 0, 20)[0].is_new
    told, watched = watch(health, [4, 0, 4, 0, 4], 20, 30)
    assert not told.is_new and told.text.startswith("Expert 1 has")
    assert watched.text == "expert 3 computed nothing, 10 of 20 steps"
    (told,) = watch(health, [4, 0, 4, 0, 4], 30, 40)
    assert told.is_new and told.text.startswith("Experts 1 and 3 (2 of 5) have computed nothing")
    assert "for 20 steps" in told.text  # both, that is


def test_layers_are_watched_apart():
    health = RoutingHealth(BOUNDS)
    watch(health, [5, 0], 0, 20, layer="first")
    assert not any(each.lasted for each in watch(health, [5, 0], 20, 30, layer="second"))
    assert watch(health, [5, 0], 30, 40, layer="second")[0].is_new


def test_an_uneven_load_and_drops():
    health = RoutingHealth(BOUNDS)
    # A load of 9, 1, 1, 1 has the mean 3 and the deviation sqrt(12), so a CV of 1.15.
    options = {"demand": [14, 1, 1, 1], "losses": ("importance_loss", "load_loss", "z_loss")}
    uneven, dropped = watch(health, [9, 1, 1, 1], 0, 20, **options)
    assert uneven.text == (
        "The load has been uneven for 20 steps: its CV is 1.15, and expert 0 computes 75% of all. "
        "Try a higher importance_loss_weight or load_loss_weight."
    )
    assert dropped.text == (  # 5 of 17
        "Too much has been dropped for 20 steps: now 29% of the tokens' choices. Try a higher "
        "capacity_factor (None drops nothing) or expert_capacity, or a higher "
        "importance_loss_weight or load_loss_weight."
    )
    assert [each.is_new for each in watch(health, [9, 1, 1, 1], 20, 30, **options)] == [False] * 2


def test_what_has_not_lasted_is_watched_and_never_fine():
    # 3 of 4 experts idle: the load 8, 0, 0, 0 has the mean 2 and the deviation sqrt(12), CV 1.73.
    # Of 50 choices 8 are computed: 84 % dropped.
    found = watch(RoutingHealth(BOUNDS), [8, 0, 0, 0], 0, 12, demand=[50, 0, 0, 0])
    assert [each.text for each in found] == [
        "experts 1, 2 and 3 (3 of 4) computed nothing, 12 of 20 steps",
        "load CV 1.73, 12 of 20 steps",
        "84% dropped, 12 of 20 steps",
    ]
    assert not any(each.lasted or each.is_new for each in found)


def test_what_lies_within_the_bounds_is_fine():
    assert wrongs(stats([9, 3, 3], [12, 3, 3]), SCALARS, BOUNDS) == {}  # CV 0.57, a sixth dropped
    # Of a gate of a task nothing is: other tasks may take the experts that it leaves.
    assert wrongs(stats([9, 0, 1, 1], [14, 0, 1, 1]), (), BOUNDS) == {}


def test_an_evaluation_has_a_capacity_factor_of_its_own():
    text = describe("dropped", [None], stats([1, 1], [3, 1]), None)
    assert text.startswith("Too much is dropped in this evaluation: now 50%")
    assert "higher eval_capacity_factor" in text


def test_many_dead_experts_are_not_all_named():
    text = describe("dead", list(range(1, 13)), stats([1] + [0] * 15, losses=()), None)
    assert text == (
        "Experts 1, 2, 3, 4, 5, 6, 7, 8 and 4 more (12 of 16) have computed nothing in this "
        "evaluation. Try a balance loss of the router, or a lower learning rate."
    )


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"steps": 0}, "at least 1. Received: steps=0"),
        ({"load_cv": 0}, "above 0. Received: load_cv=0"),
        ({"dropped_fraction": 1.5}, r"in \[0, 1\). Received: dropped_fraction=1.5"),
    ],
)
def test_bounds_that_make_no_sense(bounds, words):
    from moe_zoo.tensorboard import RoutingCallback

    with pytest.raises(ValueError, match=words):
        RoutingCallback(bounds=RoutingBounds(**bounds))
