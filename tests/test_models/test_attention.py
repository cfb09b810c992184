"""Attention against loops over heads, queries and keys; its gradients against differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from layer_test import run_layer_test
from moe_zoo.models.transformer import Attention, RotaryPositions, attend
from moe_zoo.models.transformer.cache import KeyValues
from reference import transformer as reference

B, Q, L, D, SIZE = 2, 5, 7, 13, 6  # 4 heads of 6 are wider than the 13 of the input
KINDS = {
    "plain": {"num_heads": 4, "head_dim": SIZE},
    "biases": {"num_heads": 4, "head_dim": SIZE, "use_bias": True},
    "grouped": {"num_heads": 4, "head_dim": SIZE, "num_kv_heads": 2},
    "one_kv_head": {"num_heads": 3, "head_dim": SIZE, "num_kv_heads": 1, "scale": 1.0},
}


def make(kind, seed=1):
    layer = Attention(**KINDS[kind])
    layer.build((None, None, D), (None, None, D))
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return layer


def rows(length, seed):
    return np.random.default_rng(seed).normal(size=(B, length, D)).astype("float32")


def slow(layer, weights, x, memory, bias=None, mask=None, base=None):
    options = (layer.num_heads, layer.num_kv_heads, layer.scale)
    return np.stack(
        [
            reference.attention(
                weights,
                x[b],
                memory[b],
                *options,
                bias=None if bias is None else bias[b],
                seen=None if mask is None else lambda q, k, b=b: mask[b, k],
                base=base,
            )
            for b in range(B)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_outputs(kind):
    layer = make(kind)
    x, memory = rows(Q, 2), rows(L, 3)
    weights = reference.weights_of(layer)
    np.testing.assert_allclose(layer(x), slow(layer, weights, x, x), rtol=1e-4, atol=1e-5)
    mask = np.array([[1, 1, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1]], bool)
    bias = np.random.default_rng(4).normal(size=(B, layer.num_heads, Q, L)).astype("float32")
    found = layer(x, memory, bias=bias, mask=mask)
    expected = slow(layer, weights, x, memory, bias, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "grouped"])
def test_rotary_positions(kind):
    layer, x = make(kind), rows(Q, 2)
    positions = RotaryPositions(13.0)
    found = layer(x, rotate=lambda heads: positions.rotate(heads, tf.range(Q)))
    expected = slow(layer, reference.weights_of(layer), x, x, base=13.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    layer = make(kind)
    x, memory = tf.constant(rows(Q, 2)), tf.constant(rows(L, 3))
    upstream = rows(Q, 5)
    with tf.GradientTape() as tape:
        tape.watch([x, memory])
        loss = tf.reduce_sum(layer(x, memory) * upstream)
    named = reference.weights_of(layer)
    sources = [*(w.value for w in layer.trainable_weights), x, memory]
    gradients = tape.gradient(loss, sources)

    def value(arrays):
        *weights, x, memory = arrays
        return np.sum(slow(layer, dict(zip(named, weights, strict=True)), x, memory) * upstream)

    values = [np.asarray(source, np.float64) for source in sources]
    rng = np.random.default_rng(6)
    for i, gradient in enumerate(gradients):  # one weight at a time, along a line
        direction = [np.zeros_like(v) for v in values]
        direction[i] = rng.normal(size=values[i].shape)
        expected = reference.slope(value, values, direction)
        assert np.sum(gradient * direction[i]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_one_token_after_another_is_the_whole_row():
    layer, x = make("grouped"), tf.constant(rows(Q, 2))
    causal = tf.where(tf.range(Q)[None] > tf.range(Q)[:, None], -1e9, 0.0)[None, None]
    expected = layer(x, bias=causal)
    kept = KeyValues(*(tf.zeros([B, 2, Q, SIZE]) for _ in range(2)))
    for t in range(Q):
        kept = kept.write(kept.at(t), layer.project_memory(x[:, t]))
        found = layer.attend_to(x[:, t], kept, causal[:, :, t : t + 1])
        np.testing.assert_allclose(found, expected[:, t], rtol=1e-5, atol=1e-6)


def test_writing_at_a_place():
    cache = np.arange(B * 3 * L * SIZE, dtype="float32").reshape(B, 3, L, SIZE)
    value = np.random.default_rng(1).normal(size=(B, 3, 1, SIZE)).astype("float32")
    kept = KeyValues(tf.constant(cache), tf.constant(-cache))
    found = kept.write(kept.at(4), KeyValues(tf.constant(value), tf.constant(-value)))
    cache[:, :, 4] = value[:, :, 0]
    np.testing.assert_array_equal(found.keys, cache)
    np.testing.assert_array_equal(found.values, -cache)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_softmax_is_in_float32(policy):
    """Two scores of 256 and 255.5: bfloat16 would take them for one and give each half."""
    half = policy.removeprefix("mixed_")
    queries = tf.ones([1, 1, 1, 2], half)
    keys = tf.constant([[[[255.0, 1.0], [255.0, 0.5]]]], half)
    values = tf.constant([[[[1.0, 0.0], [0.0, 1.0]]]], half)
    bias = tf.constant([[[[0.0, 0.25]]]])
    found = attend(queries, keys, values, bias)
    assert found.dtype == half
    score = tf.matmul(queries, keys, transpose_b=True)[0, 0, 0]
    expected = reference.softmax(np.asarray(tf.cast(score, tf.float64)) + [0.0, 0.25])
    np.testing.assert_allclose(tf.cast(found[0, 0, 0], tf.float32), expected, rtol=2**-7)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_bias_stays_in_float32(policy):
    """Keras would cast it: 1000.5 and 1000 are one number in half precision, -1e9 is infinite."""
    layer = Attention(1, head_dim=2, dtype=policy)
    layer.build((None, None, 2))
    for dense in (layer.query, layer.value, layer.out):
        dense.kernel.assign(np.eye(2))
    layer.key.kernel.assign(np.zeros((2, 2)))
    x = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], "float32")
    bias = np.array([[[[1000.5, 1000.0, -1e9]]]], "float32")
    found = layer(x[:, :1], x, bias=tf.constant(bias))
    assert found.dtype == policy.removeprefix("mixed_")
    expected = reference.softmax(np.array([0.5, 0.0]))
    np.testing.assert_allclose(tf.cast(found[0, 0], tf.float32), expected, rtol=2**-7)


def test_no_rows_and_unknown_lengths():
    layer = make("grouped")
    assert layer(tf.zeros([0, Q, D])).shape == (0, Q, D)
    run = tf.function(layer, input_signature=[tf.TensorSpec([None, None, D])])
    np.testing.assert_allclose(run(rows(Q, 2)), layer(rows(Q, 2)), rtol=1e-5, atol=1e-6)


def test_dropout_on_the_weights():
    layer = Attention(2, dropout=0.5)
    x = tf.random.normal([B, L, 4], seed=1)
    layer.build(x.shape)
    np.testing.assert_array_equal(layer(x), layer(x, training=False))
    assert np.any(layer(x, training=True) != layer(x, training=False))


def test_a_seed_gives_other_numbers_to_each_kernel():
    initializer = keras.initializers.GlorotUniform(seed=3)
    layer, again = (Attention(2, kernel_initializer=initializer) for _ in range(2))
    for each in (layer, again):
        each.build((None, None, D - 1))
    kernels = [w.numpy() for w in layer.trainable_weights]
    assert len({k.tobytes() for k in kernels}) == 4
    for kernel, other in zip(kernels, again.trainable_weights, strict=True):
        np.testing.assert_array_equal(kernel, other)
    fresh = Attention(2)  # without a seed too
    fresh.build((None, None, D - 1))
    assert len({w.numpy().tobytes() for w in fresh.trainable_weights}) == 4


def test_keras_own_checks():
    run_layer_test(
        Attention,
        {"num_heads": 2, "num_kv_heads": 1, "use_bias": True, "dropout": 0.25},
        input_shape=(2, 5, 6),
        expected_output_shape=(2, 5, 6),
        expected_num_trainable_weights=8,
        expected_num_seed_generators=1,
        expected_num_losses=0,
        supports_masking=True,
        run_training_check=False,  # Keras warns of its own generator; the models are trained
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, r"at least 1\. Received: num_heads=0\."),
        ({"num_heads": 2, "head_dim": 0}, r"Received: head_dim=0\."),
        ({"num_heads": 4, "num_kv_heads": 3}, r"divide num_heads=4\. Received: num_kv_heads=3\."),
        ({"num_heads": 2, "num_kv_heads": 0}, r"Received: num_kv_heads=0\."),
        ({"num_heads": 2, "dropout": 1.0}, r"rate in \[0, 1\)\. Received: dropout=1\.0\."),
        ({"num_heads": 2, "scale": -1.0}, r"Received: scale=-1\.0\."),
    ],
)
def test_sizes_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Attention(**arguments)


def test_a_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match=r"width that num_heads=2 divides\. Received: width=13\."):
        Attention(2).build((None, None, D))
