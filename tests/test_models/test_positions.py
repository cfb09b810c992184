"""Relative and rotary positions against loops over queries and keys."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models.transformer import (
    Positions,
    RelativePositions,
    RotaryPositions,
    relative_buckets,
    rotate_pairs,
)
from reference import transformer as reference

B, H, Q, L, SIZE = 2, 3, 5, 7, 22


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 20), (32, 20), (64, 256)])
def test_buckets(buckets, far, bidirectional):
    distances = np.arange(-400, 401)
    found = relative_buckets(tf.constant(distances), buckets, far, bidirectional).numpy()
    expected = [reference.bucket(int(d), buckets, far, bidirectional) for d in distances]
    # Where two ranges meet, as at ln(16/8) / ln(128/8) * 8 = 2, float32 decides, as in T5.
    off = found != expected
    assert off.sum() <= 4 and np.all(np.abs(found - expected)[off] == 1)
    # Half of the buckets for each direction, and the last one for all that is far.
    size = buckets // 2 if bidirectional else buckets
    assert found.min() == 0 and found.max() == buckets - 1
    assert np.all(found[distances <= -far] == size - 1)
    if not bidirectional:
        assert np.all(found[distances >= 0] == 0)


def test_published_buckets():
    """Of 32 buckets 16 are of each direction, 8 of these for single distances (T5, section 2.1)."""
    found = relative_buckets(tf.range(-9, 10), 32, 128, True).numpy()
    assert found.tolist() == [8, *range(8, -1, -1), *range(17, 25), 24]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("offset", [0, 4])
def test_relative_bias(causal, offset):
    layer = RelativePositions(8, 20, num_heads=H, causal=causal)
    layer.build()
    layer.table.assign(np.random.default_rng(1).normal(size=(8, H)))
    queries, keys = np.arange(Q) + offset, np.arange(L)
    found = layer.bias(tf.constant(queries), tf.constant(keys))
    expected = reference.position_bias(np.asarray(layer.table), queries, keys, 20, causal)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert layer.rotate(found, tf.constant(queries)) is found


def test_gradient_of_the_table():
    """Each score's gradient goes to the one number that it was."""
    layer = RelativePositions(8, 20, num_heads=H)
    layer.build()
    upstream = np.random.default_rng(2).normal(size=(1, H, Q, L)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.bias(tf.range(Q), tf.range(L)) * upstream)
    found = tf.convert_to_tensor(tape.gradient(loss, layer.table.value))
    expected = np.zeros((8, H))
    for q in range(Q):
        for k in range(L):
            expected[reference.bucket(k - q, 8, 20, True)] += upstream[0, :, q, k]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("base", [10000.0, 13.0])
def test_rotation(base):
    x = np.random.default_rng(3).normal(size=(B, H, Q, SIZE)).astype("float32")
    places = np.array([0, 1, 5, 17, 300])
    found = RotaryPositions(base).rotate(tf.constant(x), tf.constant(places)).numpy()
    for b, h, t in np.ndindex(B, H, Q):
        expected = reference.rotated(x[b, h, t], int(places[t]), base)
        np.testing.assert_allclose(found[b, h, t], expected, atol=1e-4)
    assert RotaryPositions(base).bias(tf.range(Q), tf.range(L)) is None


def test_rotated_products_depend_on_the_distance_only():
    rng = np.random.default_rng(4)
    a, b = (tf.constant(rng.normal(size=(1, 1, 1, SIZE)), tf.float32) for _ in range(2))

    def product(query, key):
        turned = (rotate_pairs(x, tf.constant([p])) for x, p in ((a, query), (b, key)))
        return float(tf.reduce_sum(tf.multiply(*turned)))

    for query, key in ((3, 1), (7, 20)):
        assert product(query, key) == pytest.approx(product(query + 50, key + 50), abs=1e-4)


def test_rotation_keeps_half_precision():
    x = tf.random.normal([B, H, Q, SIZE], seed=1, dtype=tf.bfloat16)
    places = tf.range(1000, 1000 + Q)  # bfloat16 knows 1000 and 1004 but nothing between
    found = rotate_pairs(x, places)
    exact = rotate_pairs(tf.cast(x, tf.float32), places)
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        RelativePositions(8, 20, initializer="zeros", num_heads=H, causal=True, name="mine"),
        RotaryPositions(13.0, num_heads=H, causal=True, name="mine"),
    ],
    ids=["relative", "rotary"],
)
def test_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativePositions(3), r"at least 4\. Received: num_buckets=3\."),
        (lambda: RelativePositions(6), r"that 4 divides\. Received: num_buckets=6\."),
        (lambda: RelativePositions(32, 16), r"above num_buckets / 2 = 16\. Received: max_distance"),
        (lambda: RelativePositions().build(), r"know their heads\. Received: num_heads=None\."),
        (lambda: RotaryPositions(1), r"above 1\. Received: base=1\."),
        (
            lambda: RotaryPositions().rotate(tf.ones([1, 1, 1, 3]), tf.range(1)),
            r"even size\. Received: head_dim=3\.",
        ),
    ],
)
def test_sizes_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_subclass_has_to_fill_in():
    with pytest.raises(NotImplementedError, match=r"Positions has to define bias\(\)"):
        Positions().bias(None, None)
    with pytest.raises(NotImplementedError, match=r"Positions has to define rotate\(\)"):
        Positions().rotate(None, None)
