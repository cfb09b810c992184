"""The MoE layer as a Keras layer: shapes, masks, and the corner cases."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from reference import moe as reference
from small_moe import ROUTERS, WITH_CAPACITY, D, E, F, moe, normal, randomize, randomize_built

# === Shapes ===


@pytest.mark.parametrize("router_class", ROUTERS)
@pytest.mark.parametrize("shape", [(11, D), (2, 11, D), (2, 3, 4, D), (0, D), (2, 0, D), (1, D)])
@pytest.mark.parametrize("group_size", [None, 7])
def test_any_number_of_axes_and_of_tokens(router_class, shape, group_size):
    layer = moe(router_class(), FeedForwardExperts(E, F, output_dim=2), group_size=group_size)
    outputs = layer(normal(*shape), training=True)
    assert outputs.shape == (*shape[:-1], 2) == layer.compute_output_shape(shape)
    assert np.all(np.isfinite(outputs))
    assert all(math.isfinite(loss) for loss in layer.losses)


@pytest.mark.parametrize("router_class", ROUTERS)
@pytest.mark.parametrize("factor", [1.0, None])
@pytest.mark.parametrize("group_size", [None, 4])
def test_unknown_batch_and_length_in_a_graph(router_class, factor, group_size):
    kwargs = {"eval_capacity_factor": factor} if router_class in WITH_CAPACITY else {}
    layer = randomize_built(moe(router_class(**kwargs), group_size=group_size))
    signature = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None, None], tf.bool)]
    graph = tf.function(lambda x, m: layer(x, mask=m, training=False), input_signature=signature)
    assert graph.get_concrete_function().structured_outputs.shape[-1] == D
    for batch, length in ((2, 7), (1, 1), (0, 5), (3, 0), (5, 3)):
        x = normal(batch, length, D)
        mask = tf.random.stateless_uniform([batch, length], [1, 2]) < 0.7
        np.testing.assert_allclose(
            graph(x, mask), layer(x, mask=mask, training=False), rtol=1e-5, atol=1e-6
        )


def test_reshaping_the_inputs_changes_nothing():
    layer = randomize_built(moe(SwitchRouter()))
    x = normal(24, D)
    flat = layer(x)
    for shape in ((2, 12, D), (2, 3, 4, D)):
        np.testing.assert_array_equal(tf.reshape(layer(tf.reshape(x, shape)), [24, D]), flat)


def test_groups_are_consecutive_tokens_with_a_capacity_each():
    # Everyone wants expert 0; one slot a group: the first token of each group is served.
    layer = moe(SwitchRouter(eval_capacity_factor=0.1, min_capacity=1), group_size=4)
    layer.build((None, D))
    layer.router.kernel.assign(tf.one_hot([0] * D, E) * 9.0)
    outputs = layer(tf.abs(normal(10, D)), training=False).numpy()
    served = np.flatnonzero(np.any(outputs != 0, axis=1))
    np.testing.assert_array_equal(served, [0, 4, 8])


# === Equivalences ===


@pytest.mark.parametrize("experts_class", [FeedForwardExperts, GatedExperts])
@pytest.mark.parametrize(
    "router",
    [
        lambda: NoisyTopKRouter(top_k=2, eval_capacity_factor=None),
        lambda: GShardRouter(eval_capacity_factor=E),
        lambda: SoftmaxRouter(),
        lambda: NoisyTopKRouter(top_k=E, eval_capacity_factor=1.0),
    ],
)
def test_identical_experts_and_gates_that_sum_to_one_are_the_dense_network(experts_class, router):
    layer = randomize_built(moe(router(), experts_class(E, F, use_bias=True)))
    for weight in layer.experts.trainable_weights:
        weight.assign(tf.repeat(weight[:1], E, axis=0))
    x = normal(2, 11, D)
    dense = layer.experts(tf.tile(tf.reshape(x, [1, 22, D]), [E, 1, 1]))[0]
    np.testing.assert_allclose(layer(x, training=False), tf.reshape(dense, x.shape), atol=1e-5)


def test_one_expert_is_the_dense_network():
    layer = randomize_built(moe(SwitchRouter(eval_capacity_factor=1.0), FeedForwardExperts(1, F)))
    x = normal(11, D)
    np.testing.assert_allclose(layer(x, training=False), layer.experts(x[None])[0], atol=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 13), st.booleans())
@settings(max_examples=12)
def test_capacity_of_all_tokens_equals_dropless(seed, top_k, size, masked):
    layer = MoE(SwitchRouter(top_k=top_k), FeedForwardExperts(4, F))
    layer.build((None, D))
    layer.router.kernel.assign(normal(D, 4, seed=seed))
    mask = np.random.default_rng(seed).random(size) > 0.3 if masked else np.ones(size, bool)
    x = normal(size, D, seed=seed)
    outputs = []
    for factor in (4.0, None):
        layer.router.eval_capacity_factor = factor
        outputs.append(layer(x, mask=tf.constant(mask), training=False))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    assert not np.any(outputs[0].numpy()[~mask])


@pytest.mark.parametrize("router_class", WITH_CAPACITY)
def test_renaming_the_experts_changes_no_output(router_class):
    layer = randomize_built(moe(router_class(eval_capacity_factor=0.7, min_capacity=1)))
    x = normal(13, D)
    before = layer(x, training=False).numpy()
    assert np.any(np.all(before == 0, axis=1)) or router_class is not SwitchRouter
    names = [2, 0, 1]
    for weight in layer.experts.trainable_weights:
        weight.assign(tf.gather(weight, names))
    layer.router.kernel.assign(tf.gather(layer.router.kernel, names, axis=1))
    np.testing.assert_allclose(layer(x, training=False), before, atol=1e-5)


# === Masks ===


@given(st.integers(0, 2**32), st.integers(1, 13), st.integers(0, 6), st.sampled_from([None, 1.0]))
@settings(max_examples=15)
def test_padding_changes_no_real_output_and_no_loss(seed, size, padding, factor):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, D)).astype(np.float32)
    mask = rng.permutation([True] * size + [False] * padding)
    padded = np.full((size + padding, D), np.nan, np.float32)
    padded[mask] = x
    router = SwitchRouter(
        capacity_factor=factor, min_capacity=1, jitter=0.0, z_loss_weight=0.1, num_experts=E
    )
    layer = randomize_built(moe(router))
    alone = layer(tf.constant(x), training=True)
    losses = [float(loss) for loss in layer.losses]
    among = layer(tf.constant(padded), mask=tf.constant(mask), training=True).numpy()
    np.testing.assert_allclose(among[mask], alone, atol=1e-5)
    assert not np.any(among[~mask])
    np.testing.assert_allclose([float(loss) for loss in layer.losses], losses, rtol=1e-5)


@pytest.mark.parametrize("router_class", ROUTERS)
@pytest.mark.parametrize("dropless", [False, True])
def test_nan_in_masked_positions_reaches_no_gradient(router_class, dropless):
    kwargs = {"capacity_factor": None} if dropless and router_class in WITH_CAPACITY else {}
    layer = randomize_built(moe(router_class(z_loss_weight=0.1, **kwargs)))
    mask = tf.constant([[True] * 5 + [False] * 6, [False] * 4 + [True] * 7])
    x = tf.where(mask[..., None], normal(2, 11, D), math.nan)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=mask, training=True)
        total = tf.reduce_sum(outputs) + tf.add_n(layer.losses)
    for gradient in tape.gradient(total, [x, *layer.trainable_weights]):
        assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(outputs))


@pytest.mark.parametrize("router_class", ROUTERS)
@pytest.mark.parametrize("factor", [1.25, None])
def test_every_token_masked_gives_zeros_and_finite_losses(router_class, factor):
    kwargs = {"capacity_factor": factor} if router_class in WITH_CAPACITY else {}
    layer = randomize_built(moe(router_class(z_loss_weight=0.1, **kwargs)))
    with tf.GradientTape() as tape:
        outputs = layer(normal(2, 4, D), mask=tf.zeros([2, 4], tf.bool), training=True)
        total = tf.reduce_sum(outputs) + tf.add_n(layer.losses)
    assert not np.any(outputs)
    assert float(total) == 0.0
    for gradient in tape.gradient(total, layer.trainable_weights):
        assert gradient is None or not np.any(gradient)


def test_the_mask_of_an_embedding_reaches_the_layer():
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    embedding = keras.layers.Embedding(5, D, mask_zero=True)
    layer = moe(SwitchRouter())
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, layer(embedding(inputs)))
    randomize(layer)
    outputs = model(ids).numpy()
    np.testing.assert_array_equal(np.any(outputs != 0, axis=-1), ids != 0)
    np.testing.assert_array_equal(layer.compute_mask(ids, ids != 0), ids != 0)  # it goes on


def test_a_mask_of_the_wrong_rank_is_an_error():
    with pytest.raises(
        ValueError, match="Expected a mask with the axes of the inputs but the last"
    ):
        moe(SwitchRouter())(normal(2, 3, D), mask=tf.ones([2], tf.bool))


# === The reference once more, for random sizes ===


@given(
    st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 19), st.sampled_from([0.5, 1, None])
)
@settings(max_examples=15)
def test_random_layers_equal_the_reference(seed, experts, size, factor):
    rng = np.random.default_rng(seed)
    top_k = int(rng.integers(1, experts, endpoint=True))
    priority = bool(rng.integers(2))
    router = SwitchRouter(
        top_k=top_k, eval_capacity_factor=factor, min_capacity=1, batch_priority=priority
    )
    layer = randomize_built(moe(router, FeedForwardExperts(experts, F)))
    x, mask = rng.normal(size=(size, D)).astype(np.float32), rng.random(size) > 0.2
    limit = reference.capacity(int(mask.sum()), experts, top_k, factor)
    logits = x.astype(np.float64) @ layer.router.kernel.numpy()
    plan = reference.switch_plan(logits, limit, mask, top_k, priority)
    parts = [w.numpy() for w in layer.experts.trainable_weights]
    assert [w.name for w in layer.experts.weights][:2] == ["kernel_in", "bias_in"]
    expected = reference.moe(
        x, plan, lambda e, t: reference.feed_forward(t, *(p[e] for p in parts), reference.relu)
    )
    outputs = layer(tf.constant(x), mask=tf.constant(mask), training=False)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
