"""Routers in training: noise, losses, seeds, precision, arguments."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from layer_test import run_layer_test
from moe_zoo import losses
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from reference import moe as reference
from router_cases import STOCHASTIC, E, S, route

# === Training: noise, losses, seeds ===


def make(router_class, kwargs, **more):
    return router_class(num_experts=E, **{**kwargs, **more})


def tokens(seed=0, groups=1, size=S, width=E):
    return tf.constant(np.random.default_rng(seed).normal(size=(groups, size, width)), tf.float32)


@pytest.mark.parametrize("router_class, kwargs", STOCHASTIC)
def test_same_seed_same_routing(router_class, kwargs):
    one, two = (make(router_class, kwargs, seed=3) for _ in range(2))
    other = make(router_class, kwargs, seed=4)
    x = tokens(size=101)
    first, again = one(x, training=True), one(x, training=True)
    np.testing.assert_array_equal(first.experts, two(x, training=True).experts)
    assert np.any(first.experts != again.experts)  # each call draws anew
    assert np.any(first.experts != other(x, training=True).experts)


@pytest.mark.parametrize("router_class, kwargs", [*STOCHASTIC, (SoftmaxRouter, {"jitter": 0.3})])
@pytest.mark.parametrize("training", [False, None])
def test_trap_evaluation_draws_nothing(router_class, kwargs, training):
    router = make(router_class, {**kwargs, "kernel_initializer": "identity"}, seed=3)
    x = tokens()
    first = router(x, training=training)
    state = router.seed_generator.state.numpy()
    second = router(x, training=training)
    np.testing.assert_array_equal(first.gates, second.gates)
    np.testing.assert_array_equal(router.seed_generator.state, state)
    assert router.losses == [] and first.losses == {}


def test_noisy_logits_have_the_learned_deviation():
    # W = 0 and W_noise = 0: H ~ N(0, ln 2), every expert equally likely to be the first choice.
    router = NoisyTopKRouter(top_k=1, num_experts=E, capacity_factor=None)
    count = 4000
    plan = router(tokens(size=count), training=True)
    share = np.bincount(plan.experts[0, 0], minlength=E) / count
    assert np.all(np.abs(share - 1 / E) <= 4 * math.sqrt(0.2 * 0.8 / count))
    # Two experts, clean logits 1 and 0: the first wins where n1 - n2 > -1 / ln 2, and n1 - n2 has
    # the deviation sqrt 2, so Phi(1 / (ln 2 sqrt 2)).
    router = NoisyTopKRouter(top_k=1, num_experts=2, capacity_factor=None)
    router.build((None, None, 2))
    router.kernel.assign(np.eye(2))
    plan = router(tf.tile(tf.constant([[[1.0, 0.0]]]), [1, count, 1]), training=True)
    p = reference.normal_cdf(1 / (math.log(2.0) * math.sqrt(2.0)))
    share = np.mean(plan.experts[0, 0] == 0)
    assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / count)


def test_noisy_gates_are_the_reference_given_the_noise():
    """The draw is recovered from the router's own seed; everything else is the paper's."""
    router = NoisyTopKRouter(top_k=2, num_experts=E, capacity_factor=None, seed=5)
    rng = np.random.default_rng(1)
    router.build((None, None, 3))
    router.kernel.assign(rng.normal(size=(3, E)))
    router.noise_kernel.assign(rng.normal(size=(3, E)))
    twin = keras.random.SeedGenerator(5)
    draw = tf.random.stateless_normal([1, S, E], twin.next()).numpy()
    x = tokens(2, width=3)
    plan = router(x, training=True)
    kernels = router.kernel.numpy(), router.noise_kernel.numpy()
    dense, load = np.zeros((S, E)), np.zeros((S, E))
    for token in range(S):
        clean, noisy, stddev = reference.noisy_logits(x[0, token].numpy(), *kernels, draw[0, token])
        dense[token] = reference.noisy_top_k_gates(noisy, 2)
        load[token] = reference.load_probability(clean, noisy, stddev, 2)
    ours = np.zeros((S, E))
    for choice, token in np.ndindex(2, S):
        ours[token, plan.experts[0, choice, token]] = plan.gates[0, choice, token]
    np.testing.assert_allclose(ours, dense, atol=1e-5)
    expected = {"importance_loss": dense.sum(0), "load_loss": load.sum(0)}
    for name, values in expected.items():
        value = 0.1 * reference.cv_squared(values)
        assert float(plan.losses[name]) == pytest.approx(value, rel=1e-4)
    assert float(sum(router.losses)) == pytest.approx(float(sum(plan.losses.values())))


def test_uniform_switch_router_costs_exactly_its_weight():
    # A zero kernel makes P uniform, so that E sum f_e P_e = sum f_e = 1 wherever ties fall.
    for router_class in (SwitchRouter, GShardRouter):
        router = router_class(num_experts=E, kernel_initializer="zeros", z_loss_weight=0.001)
        plan = router(tokens(), training=True)
        assert float(plan.losses["balance_loss"]) == pytest.approx(0.01)
        assert float(plan.losses["z_loss"]) == pytest.approx(0.001 * math.log(E) ** 2)


@pytest.mark.parametrize(
    "router_class, names",
    [
        (SwitchRouter, {"balance_loss", "z_loss"}),
        (GShardRouter, {"balance_loss", "z_loss"}),
        (NoisyTopKRouter, {"importance_loss", "load_loss", "z_loss"}),
        (SoftmaxRouter, {"z_loss"}),
    ],
)
def test_a_loss_of_weight_zero_is_not_computed(router_class, names):
    weights = {f"{name}_weight": 0.5 for name in names}
    x = tokens()
    assert set(make(router_class, weights)(x, training=True).losses) == names
    for name in names:
        router = make(router_class, {**weights, f"{name}_weight": 0.0})
        assert set(router(x, training=True).losses) == names - {name}
        assert len(router.losses) == len(names) - 1


def test_initial_kernels():
    # Switch: truncated normal of variance 0.1 / fan_in; Keras corrects the cut-off. 97 * 89 draws.
    router = SwitchRouter(num_experts=89)
    router.build((None, None, 97))
    kernel = router.kernel.numpy()
    wanted = math.sqrt(0.1 / 97)
    assert np.std(kernel) == pytest.approx(wanted, rel=0.05)
    assert np.abs(kernel).max() <= 2 * wanted / 0.87962566 + 1e-6  # never beyond two deviations
    noisy = NoisyTopKRouter(num_experts=E)
    noisy.build((None, None, 3))
    assert not np.any(noisy.kernel) and not np.any(noisy.noise_kernel)


def test_routing_is_float32_under_every_policy():
    for policy in ("mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        router = SwitchRouter(num_experts=E)
        plan = router(tf.cast(tokens(), policy.removeprefix("mixed_")), training=True)
        assert router.kernel.dtype == plan.gates.dtype == "float32"
        assert all(loss.dtype == tf.float32 for loss in router.losses)


# === Arguments ===


def test_errors_name_the_value_and_advise():
    cases = [
        (lambda: SwitchRouter(num_experts=2, top_k=3).build((1, 1, 4)), "top_k=3.*Lower top_k"),
        (lambda: SwitchRouter(top_k=0), "top_k=0"),
        (lambda: SwitchRouter(capacity_factor=-1.0), "capacity_factor=-1.0"),
        (lambda: SwitchRouter(min_capacity=0), "min_capacity=0"),
        (lambda: SwitchRouter(jitter=1.5), "jitter=1.5"),
        (lambda: SwitchRouter(balance_loss_weight=-0.1), "balance_loss_weight=-0.1"),
        (lambda: GShardRouter(second_expert_policy="best"), "second_expert_policy='best'"),
        (lambda: SwitchRouter()(tokens()), "num_experts=None"),
    ]
    for make_error, message in cases:
        with pytest.raises(ValueError, match=message):
            make_error()


def test_nan_in_a_real_token_is_an_error_that_names_the_router():
    router = SwitchRouter(num_experts=E, name="my_router")
    with pytest.raises(tf.errors.InvalidArgumentError, match="my_router.*not finite"):
        router(tf.fill([1, S, E], math.nan))


@pytest.mark.parametrize(
    "router_class, weights, seeds",
    [(SwitchRouter, 1, 1), (GShardRouter, 1, 1), (NoisyTopKRouter, 2, 1), (SoftmaxRouter, 1, 1)],
)
def test_keras_layer_test(router_class, weights, seeds):
    run_layer_test(
        router_class,
        {"num_experts": E, "jitter": 0.1, "z_loss_weight": 0.1, "seed": 1},
        input_shape=(2, 7, 3),
        expected_num_trainable_weights=weights,
        expected_num_non_trainable_variables=2,  # Keras lists the seed as a weight and as a seed
        expected_num_seed_generators=seeds,
        run_training_check=False,
        run_mixed_precision_check=False,
    )


@pytest.mark.parametrize("router_class", [SwitchRouter, GShardRouter, NoisyTopKRouter])
def test_configuration_holds_every_argument(router_class):
    changed = {
        "top_k": 2,
        "capacity_factor": 3.0,
        "eval_capacity_factor": None,
        "min_capacity": 2,
        "batch_priority": True,
        "jitter": 0.2,
        "z_loss_weight": 0.3,
        "num_experts": 7,
        "seed": 9,
    }
    config = router_class.from_config(router_class(**changed).get_config()).get_config()
    assert {name: config[name] for name in changed} == changed


def test_the_balance_loss_uses_first_choices_before_capacity():
    # All tokens want expert 0; capacity 1 drops all but one, yet f_0 is 1.
    logits = np.tile(np.log([0.6, 0.3, 0.1]), (S, 1))
    plan = route(SwitchRouter, logits, training=True, capacity_factor=0.1)
    assert np.sum(plan.kept) == 1
    expected = losses.balance_loss(plan.probabilities, tf.zeros([1, S], tf.int32))
    assert float(plan.losses["balance_loss"]) == pytest.approx(0.01 * float(expected))
    assert float(expected) == pytest.approx(3 * 0.6)
