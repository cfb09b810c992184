"""Routers: who goes where, held against the papers' loops. Tokens are logits: the kernel is I."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from layer_test import run_layer_test
from moe_zoo import losses
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter

S, E = 11, 5
EXACT = {"kernel_initializer": "identity", "jitter": 0.0, "min_capacity": 1}
ROUTERS = [
    (SwitchRouter, {}),
    (SwitchRouter, {"top_k": 3}),
    (NoisyTopKRouter, {"top_k": 2}),
    (NoisyTopKRouter, {"top_k": E}),
    (GShardRouter, {"second_expert_policy": "all"}),
    (GShardRouter, {"second_expert_policy": "none"}),
    (GShardRouter, {"second_expert_policy": "threshold", "second_expert_threshold": 0.37}),
]
STOCHASTIC = [
    (NoisyTopKRouter, {}),
    (SwitchRouter, {"jitter": 0.3, "kernel_initializer": "identity"}),
    (GShardRouter, {"kernel_initializer": "identity"}),
    (GShardRouter, {"kernel_initializer": "identity", "second_expert_policy": "sampling"}),
]


def route(router_class, logits, mask=None, training=False, **kwargs):
    """The plan for logits [S, E], with one factor for training and evaluation."""
    factor = kwargs.pop("capacity_factor", 1.0)
    router = router_class(
        num_experts=logits.shape[-1],
        capacity_factor=factor,
        eval_capacity_factor=factor,
        **{**EXACT, **kwargs},
    )
    mask = None if mask is None else tf.constant(np.asarray(mask)[None])
    return router(tf.constant(logits[None], tf.float32), mask=mask, training=training)


SLOW = {
    SwitchRouter: reference.switch_plan,
    NoisyTopKRouter: reference.noisy_top_k_plan,
    GShardRouter: reference.gshard_plan,
}
NAMES = {"second_expert_policy": "policy", "second_expert_threshold": "threshold"}


def slow_plan(router_class, logits, limit, mask=None, **kwargs):
    """The same from the papers, with a Plan of [K, S]."""
    kwargs = {NAMES.get(name, name): value for name, value in kwargs.items()}
    return SLOW[router_class](logits, limit, mask, **kwargs)


def assert_same_plan(plan, slow):
    kept = plan.kept[0].numpy()
    np.testing.assert_array_equal(kept, slow.kept)
    np.testing.assert_array_equal(plan.experts[0].numpy()[kept], slow.experts[slow.kept])
    np.testing.assert_allclose(plan.gates[0].numpy()[kept], slow.gates[slow.kept], rtol=1e-5)
    if hasattr(plan, "filled"):
        capacity = plan.tokens.shape[2]
        places = plan.slots[0].numpy() - capacity * plan.experts[0].numpy()
        np.testing.assert_array_equal(places[kept], slow.positions[slow.kept])


# === Scenario tables ===

# Four tokens, three experts; rows are logits log(p). Fair share of one choice: ceil(4/3) = 2.
TABLE = np.log([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.7, 0.1, 0.2], [0.2, 0.7, 0.1]])


def test_switch_table():
    # Expert 0 takes tokens 0 and 1; token 2, which wants it most, comes too late. Raw gates.
    plan = route(SwitchRouter, TABLE)
    np.testing.assert_array_equal(plan.kept[0, 0], [True, True, False, True])
    np.testing.assert_allclose(plan.gates[0, 0].numpy()[[0, 1, 3]], [0.5, 0.6, 0.7], rtol=1e-6)


def test_switch_table_with_batch_priority():
    # By gate: tokens 2 (.7), 3 (.7), 1 (.6), 0 (.5). Expert 0 takes 2 and 1, token 0 is dropped.
    plan = route(SwitchRouter, TABLE, batch_priority=True)
    np.testing.assert_array_equal(plan.kept[0, 0], [False, True, True, True])


def test_gshard_table():
    # C = ceil(2 * 4 / 3) = 3. First choices 0 0 0 1 all fit. Second choices, token order: token 0
    # and token 1 want expert 1, which holds token 3: both fit. Token 2 wants expert 2. Token 3
    # wants expert 0, which is full.
    plan = route(GShardRouter, TABLE, second_expert_policy="all")
    np.testing.assert_array_equal(plan.kept[0], [[True] * 4, [True, True, True, False]])
    np.testing.assert_array_equal(plan.experts[0], [[0, 0, 0, 1], [1, 1, 2, 0]])
    # The gate of token 3 is renormalised before the drop and not after: .7 / .9.
    np.testing.assert_allclose(plan.gates[0, 0], [5 / 8, 6 / 9, 7 / 9, 7 / 9], rtol=1e-6)


def test_noisy_top_k_table():
    # Without noise: softmax over the two kept logits, all sums one.
    plan = route(NoisyTopKRouter, TABLE, top_k=2, capacity_factor=None)
    np.testing.assert_allclose(plan.gates[0, 0], [5 / 8, 6 / 9, 7 / 9, 7 / 9], rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(plan.gates, 1), np.ones((1, 4)), rtol=1e-6)


def test_softmax_table():
    plan = route_softmax(TABLE, [True, True, False, True])
    expected = np.exp(TABLE) * np.array([[1], [1], [0], [1]])
    np.testing.assert_allclose(plan.gates[0], expected, rtol=1e-6)


def route_softmax(logits, mask=None):
    router = SoftmaxRouter(num_experts=logits.shape[1], kernel_initializer="identity")
    return router(tf.constant(logits[None], tf.float32), mask=tf.constant([mask]))


# === Against the papers ===


@pytest.mark.parametrize("router_class, kwargs", ROUTERS)
@pytest.mark.parametrize("factor", [0.5, 1.0, None])
@pytest.mark.parametrize("masked", [False, True])
def test_plans_equal_the_references(router_class, kwargs, factor, masked):
    rng = np.random.default_rng(S)
    logits = rng.normal(size=(S, E))
    mask = rng.random(S) > 0.3 if masked else None
    real = S if mask is None else int(mask.sum())
    plan = route(router_class, logits, mask, capacity_factor=factor, **kwargs)
    limit = reference.capacity(real, E, plan.experts.shape[1], factor)
    assert_same_plan(plan, slow_plan(router_class, logits, limit, mask, **kwargs))


@pytest.mark.parametrize("router_class, kwargs", ROUTERS[:5])
def test_batch_priority_equals_the_reference(router_class, kwargs):
    rng = np.random.default_rng(S)
    logits, mask = rng.normal(size=(S, E)), rng.random(S) > 0.2
    plan = route(router_class, logits, mask, capacity_factor=0.5, batch_priority=True, **kwargs)
    limit = reference.capacity(int(mask.sum()), E, plan.experts.shape[1], 0.5)
    slow = slow_plan(router_class, logits, limit, mask, priority=True, **kwargs)
    assert_same_plan(plan, slow)


@given(st.integers(0, 2**32), st.integers(1, 13), st.integers(0, 6), st.integers(1, 3))
@settings(max_examples=20)
def test_padding_changes_no_plan_of_a_real_token(seed, size, padding, minimum):
    """Wherever it stands, whatever it holds, however much there is."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, E))
    mask = rng.permutation([True] * size + [False] * padding)
    padded = np.full((size + padding, E), np.nan)
    padded[mask] = logits
    for router_class, kwargs in ROUTERS[:1] + ROUTERS[2:3] + ROUTERS[6:]:
        kwargs = {**kwargs, "min_capacity": minimum, "batch_priority": bool(seed % 2)}
        alone = route(router_class, logits, **kwargs)
        among = route(router_class, padded, mask, **kwargs)
        np.testing.assert_array_equal(alone.kept[0], among.kept[0].numpy()[:, mask])
        np.testing.assert_allclose(alone.gates[0], among.gates[0].numpy()[:, mask], rtol=1e-6)
        assert not np.any(among.kept[0].numpy()[:, ~mask])


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 13), st.booleans())
@settings(max_examples=15)
def test_gate_invariants(seed, experts, size, priority):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, experts))
    top_k = int(rng.integers(1, experts, endpoint=True))
    kwargs = {"top_k": top_k, "batch_priority": priority}
    plan = route(NoisyTopKRouter, logits, capacity_factor=None, **kwargs)
    np.testing.assert_allclose(tf.reduce_sum(plan.gates, 1), np.ones((1, size)), rtol=1e-5)
    plan = route(NoisyTopKRouter, logits, capacity_factor=experts, **kwargs)
    assert np.all(plan.kept)  # capacity of all tokens
    plan = route(SwitchRouter, logits, capacity_factor=0.5, **kwargs)
    kept, asked = plan.kept[0, 0].numpy(), plan.experts[0, 0].numpy()
    gates = plan.gates[0, 0].numpy()
    for expert in set(asked) if priority else ():  # the largest first gates are the ones kept
        mine = asked == expert
        lost = gates[mine & ~kept]
        assert lost.size == 0 or gates[mine & kept].min() >= lost.max()
    total = tf.reduce_sum(plan.gates, 1).numpy()
    assert np.all(total <= 1 + 1e-5) and np.all(gates >= 1 / experts - 1e-6)


# === Second-expert policies ===


def second_choices(policy, draws=4000):
    """First and second experts of many tokens with p = .5, .3, .15, .05, in training."""
    logits = np.tile(np.log([0.5, 0.3, 0.15, 0.05]), (draws, 1))
    plan = route(
        GShardRouter, logits, training=True, capacity_factor=None, second_expert_policy=policy
    )
    assert np.all(plan.experts[0, 0] == 0)
    return plan


def test_policy_random_admits_with_probability_twice_the_gate():
    plan = second_choices("random")
    kept = plan.kept[0, 1].numpy()  # g2 = .3 / .8, so 2 g2 = .75
    assert abs(kept.mean() - 0.75) <= 4 * math.sqrt(0.75 * 0.25 / len(kept))
    assert set(plan.experts[0, 1].numpy()[kept]) == {1}


def test_policy_sampling_draws_from_the_softmax_without_the_first():
    plan = second_choices("sampling")
    experts = plan.experts[0, 1].numpy()
    expected = np.array([0.0, 0.6, 0.3, 0.1])
    error = np.sqrt(expected * (1 - expected) / len(experts))
    share = np.bincount(experts, minlength=4) / len(experts)
    assert np.all(np.abs(share - expected) <= 4 * error)
    # Gates are renormalised over the drawn pair, for example .5 / (.5 + .05).
    pair = 0.5 + np.array([0.0, 0.3, 0.15, 0.05])[experts]
    np.testing.assert_allclose(plan.gates[0, 0], 0.5 / pair, rtol=1e-5)


def test_random_policies_take_every_second_choice_in_evaluation():
    logits = np.random.default_rng(0).normal(size=(S, E))
    for policy in ("random", "sampling"):
        plan = route(GShardRouter, logits, second_expert_policy=policy)
        expected = route(GShardRouter, logits, second_expert_policy="all")
        np.testing.assert_array_equal(plan.experts, expected.experts)


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
