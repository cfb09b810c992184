"""The rule of published Switch Transformers: so many slots an expert and row, padding counted."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import serving_mode
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, SoftmaxRouter, SwitchRouter
from moe_zoo.scopes import record_plans
from moe_zoo.stats import TRAINING

B, T, D, E, F = 3, 11, 5, 2, 7


def mixture(capacity=2, **kwargs):
    router = SwitchRouter(expert_capacity=capacity, seed=1, **kwargs)
    layer = MoE(router, FeedForwardExperts(E, F), group_by_row=True, name="mixture")
    layer.build((None, None, D))
    return layer


def rows(seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(B, T, D)), tf.float32)


def first_of_each_row(experts, capacity, real=None):
    """Whether each token is among the first `capacity` of its expert in its row, by counting."""
    kept = np.zeros(experts.shape, bool)
    for b, row in enumerate(experts):
        used = {}
        for t, expert in enumerate(row):
            if real is None or real[b, t]:
                kept[b, t] = used.get(expert, 0) < capacity
                used[expert] = used.get(expert, 0) + 1
    return kept


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("capacity", [1, 2, 5, 64])
def test_each_row_has_so_many_slots_of_each_expert_in_token_order(capacity, training):
    layer, x = mixture(capacity, jitter=0.0), rows()
    outputs = layer(x, training=training)
    experts = np.argmax(x @ layer.router.kernel, -1)
    kept = first_of_each_row(experts, capacity)
    assert kept.all() == (capacity == 64)
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), kept)
    unlimited = layer.get_config()["router"]["config"] | {"expert_capacity": 64}
    free = MoE(SwitchRouter.from_config(unlimited), FeedForwardExperts(E, F), group_by_row=True)
    free.build((None, None, D))
    free.set_weights(layer.get_weights())
    np.testing.assert_allclose(outputs, np.where(kept[..., None], free(x), 0), rtol=1e-6, atol=1e-7)


def test_a_row_does_not_depend_on_the_others():
    layer, x = mixture(), rows()
    alone = tf.concat([layer(x[b : b + 1]) for b in range(B)], 0)
    np.testing.assert_array_equal(layer(x), alone)


@pytest.mark.parametrize("counted", [True, False])
def test_padding_takes_slots_if_it_is_routed_and_none_otherwise(counted):
    layer, x = mixture(route_padding=counted), rows()
    real = np.arange(T) >= [[0], [4], [9]]  # on the left, where it comes before the others
    outputs = layer(x, mask=tf.constant(real))
    experts = np.argmax(x @ layer.router.kernel, -1)
    kept = first_of_each_row(experts, 2, None if counted else real)
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), kept)


def test_padding_that_is_routed_counts_in_losses():
    layer, x = mixture(route_padding=True, jitter=0.0), rows()
    layer(x, mask=tf.zeros([B, T], tf.bool), training=True)
    masked = layer.losses
    layer(x, training=True)
    assert masked == layer.losses and float(masked[0]) > 0


def test_what_pads_the_last_group_is_never_routed():
    layer = MoE(
        SwitchRouter(route_padding=True, jitter=0.0, expert_capacity=1),
        FeedForwardExperts(E, F),
        group_size=4,
    )
    layer(rows()[:1, :6], mask=tf.zeros([1, 6], tf.bool), training=True)  # groups of 4 and 2 + 2
    stats = layer.statistics.summarize(layer.statistics.sums(TRAINING))
    assert stats.tokens == 6 and stats.demand.sum() == 6


def test_unknown_batch_and_length_and_jit():
    layer = mixture()
    signature = [tf.TensorSpec([None, None, D])]
    graph = tf.function(lambda x: layer(x, training=False), signature)
    for batch, length in ((3, 11), (1, 1), (0, 5), (4, 0)):
        x = tf.random.stateless_normal([batch, length, D], [1, 2])
        np.testing.assert_allclose(graph(x), layer(x, training=False), rtol=1e-6, atol=1e-7)
    assert layer.supports_jit
    compiled = tf.function(lambda x: layer(x, training=False), signature, jit_compile=True)
    np.testing.assert_allclose(compiled(rows()), layer(rows()), rtol=1e-5, atol=1e-6)


def test_rows_of_any_shape_are_groups():
    layer = mixture()
    x = tf.random.stateless_normal([B, 2, 3, D], [3, 4])
    flat = layer(tf.reshape(x, [B, 6, D]))
    np.testing.assert_array_equal(layer(x), tf.reshape(flat, x.shape))
    assert layer(rows()[:, 0]).shape == (B, D)  # each row one token


def test_serving_keeps_the_fixed_capacity():
    layer, x = mixture(), rows()
    model = keras.Sequential([keras.Input((None, D)), layer])
    before = model(x)
    with serving_mode(model):
        np.testing.assert_array_equal(model(x), before)


def test_saved_with_the_model(tmp_path):
    model = keras.Sequential([keras.Input((None, D)), mixture(3, route_padding=True)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    layer = again.layers[0]
    assert layer.group_by_row and layer.router.expert_capacity == 3 and layer.router.route_padding
    np.testing.assert_array_equal(again(rows()), model(rows()))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"group_size or group_by_row.*both, group_size=7"):
        MoE(SwitchRouter(), FeedForwardExperts(E, F), group_size=7, group_by_row=True)
    with pytest.raises(ValueError, match="expert_capacity=0"):
        SwitchRouter(expert_capacity=0)


# === Recorded plans ===


def test_recorded_plans_are_those_of_the_call():
    layer, x = mixture(), rows()
    with record_plans() as plans, record_plans() as too:
        outputs = layer(x)
    assert list(plans) == ["mixture"] and plans == too
    slots = plans["mixture"].dispatch(x)
    again = plans["mixture"].combine(layer.experts(slots))
    np.testing.assert_allclose(outputs, again, rtol=1e-6)
    layer(2 * x)  # outside of the context nothing is kept
    np.testing.assert_array_equal(plans["mixture"].dispatch(x), slots)


def test_recordings_within_each_other():
    first, second, x = mixture(), mixture(), rows()
    with record_plans() as outer:
        with record_plans() as inner:
            first(x)
        kept = inner["mixture"]
        second(2 * x)
        first(x)
        assert outer["mixture"] is not kept  # a layer leaves its last plan
    first(x)  # outside of both
    assert inner == {"mixture": kept}
    assert list(outer) == ["mixture", "mixture_1"]  # two layers of one path


def test_what_another_thread_computes_is_not_recorded():
    first, second, x = mixture(), mixture(), rows()
    with record_plans() as plans:
        thread = threading.Thread(target=second, args=(x,))
        thread.start()
        thread.join()
        assert plans == {}
        first(x)
    assert list(plans) == ["mixture"]


def test_every_mixture_of_a_model_leaves_its_plan_and_an_error_ends_the_recording():
    tokens = keras.Input((None, D))
    y = MoE(GShardRouter(), FeedForwardExperts(E, F), name="sparse")(tokens)
    y = MoE(SoftmaxRouter(), FeedForwardExperts(E, F), name="soft")(y)
    model = keras.Model(tokens, y)
    with pytest.raises(RuntimeError), record_plans() as plans:
        model(rows())
        raise RuntimeError
    assert {path.split("/")[-1] for path in plans} == {"sparse", "soft"}
    model(rows()[:1])
    assert plans["soft"].gates.shape == (1, B * T, E)
