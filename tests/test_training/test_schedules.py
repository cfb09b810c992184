import math

import keras
import pytest

from moe_zoo.training.optim.schedules import WarmupInverseSquareRoot


def rate(schedule, update):
    """The rate of an update, counted from 1 as the paper does."""
    return float(schedule(update - 1))


@pytest.mark.parametrize(
    ("warmup", "hold"),
    [
        pytest.param(1000, 0, id="language-model"),  # appendix C
        pytest.param(2000, 8000, id="translation"),  # appendix E
        pytest.param(7, 5, id="small"),
    ],
)
def test_each_phase_follows_its_formula(warmup, hold):
    peak = 0.03
    schedule = WarmupInverseSquareRoot(peak, warmup, hold)
    for update in (1, 2, warmup // 2, warmup - 1, warmup):
        assert rate(schedule, update) == pytest.approx(peak * update / warmup, rel=1e-6)
    for update in (warmup, warmup + hold // 2, warmup + hold):
        assert rate(schedule, update) == pytest.approx(peak, rel=1e-6)
    for update in (warmup + hold + 1, 3 * (warmup + hold), 100 * (warmup + hold)):
        expected = peak * math.sqrt((warmup + hold) / update)
        assert rate(schedule, update) == pytest.approx(expected, rel=1e-6)


def test_four_times_the_steps_halve_the_rate():
    schedule = WarmupInverseSquareRoot(0.5, warmup_steps=11, hold_steps=2)
    assert rate(schedule, 4 * 13) == pytest.approx(0.25)
    assert rate(schedule, 4 * 30) == pytest.approx(rate(schedule, 30) / 2)


def test_the_first_update_is_not_lost():
    assert rate(WarmupInverseSquareRoot(0.5, warmup_steps=5), 1) == pytest.approx(0.1)


def test_no_warmup_starts_at_the_peak():
    schedule = WarmupInverseSquareRoot(0.5, warmup_steps=0)
    assert [rate(schedule, 1), rate(schedule, 4)] == pytest.approx([0.5, 0.25])


def test_an_optimizer_uses_and_saves_it():
    schedule = WarmupInverseSquareRoot(0.5, warmup_steps=5, hold_steps=3)
    optimizer = keras.optimizers.SGD(schedule)
    weight = keras.Variable([1.0])
    optimizer.apply([keras.ops.ones([1])], [weight])  # rate 0.5 / 5
    optimizer.apply([keras.ops.ones([1])], [weight])  # rate 0.5 * 2 / 5
    assert float(weight[0]) == pytest.approx(1 - 0.1 - 0.2)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()
    assert rate(copy._learning_rate, 50) == pytest.approx(0.5 * math.sqrt(8 / 50))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0.0, 5), "peak_learning_rate=0.0"),
        ((-0.1, 5), "peak_learning_rate=-0.1"),
        ((float("nan"), 5), "peak_learning_rate=nan"),
        ((0.1, -5), "warmup_steps=-5"),
        ((0.1, 5, -1), "hold_steps=-1"),
        ((0.1, 2.5), "warmup_steps=2.5"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match="Expected") as error:
        WarmupInverseSquareRoot(*arguments)
    assert named in str(error.value)
