"""Inputs and masks of every kind that a user may give to a layer: right, or a clear error."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.layers import MMoE, MoE
from moe_zoo.models.transformer import Attention, FeedForward, TransformerStack
from moe_zoo.routers import SwitchRouter
from small_moe import normal

B, T, D = 2, 3, 5
MASK = np.array([[True, True, False], [True, False, False]])


def moe():
    return MoE(SwitchRouter(eval_capacity_factor=None), FeedForwardExperts(3, 7))


def stack():
    return TransformerStack(Attention(1), FeedForward(7), 1, moe(), moe_every=1)


@pytest.fixture(scope="module", params=[moe, stack])
def layer(request):
    layer = request.param()
    layer(normal(B, T, D))
    return layer


KINDS_OF_MASK = {
    "lists": MASK.tolist(),
    "tuples": tuple(map(tuple, MASK.tolist())),
    "whole numbers in lists": MASK.astype(int).tolist(),
    "NumPy": MASK,
    "int64": MASK.astype("int64"),
    "uint8": MASK.astype("uint8"),
    "float64": MASK.astype("float64"),
    "tensor": tf.constant(MASK.astype("float32")),
    "variable": tf.Variable(MASK),
}


@pytest.mark.parametrize("kind", KINDS_OF_MASK)
def test_masks_of_all_kinds_are_one(layer, kind):
    x = normal(B, T, D)
    expected = layer(x, mask=tf.constant(MASK)).numpy()
    assert not np.allclose(expected, layer(x))
    np.testing.assert_array_equal(layer(x, mask=KINDS_OF_MASK[kind]), expected)


WRONG_MASKS = {
    "transposed": (MASK.T, r"mask.shape=\(3, 2\)"),
    "one column": (MASK[:, :1], r"mask.shape=\(2, 1\)"),
    "short": (MASK[:, :2].tolist(), r"mask.shape=\(2, 2\)"),
    "flat": (MASK.reshape(-1), r"mask.shape=\(6,\)"),
    "one more axis": (MASK[..., None], r"mask.shape=\(2, 3, 1\)"),
    "no axis": (True, r"mask.shape=\(\)"),
    "text": ([["yes"] * T] * B, "mask.dtype=string"),
    "uneven lists": ([[True], [True, False]], r"\[\[True\], \[True, False\]\]"),
    "ragged": (tf.ragged.constant([[True], [True, False]]), "RaggedTensor"),
}


@pytest.mark.parametrize("kind", WRONG_MASKS)
def test_masks_that_do_not_fit_are_refused(layer, kind):
    mask, received = WRONG_MASKS[kind]
    words = f"Expected a mask with the axes of the inputs but the last.*Received: .*{received}"
    with pytest.raises(ValueError, match=words):
        layer(normal(B, T, D), mask=mask)


def test_masks_whose_shape_is_known_late(layer):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, D]),
            tf.TensorSpec([None, None], tf.bool),
        ]
    )
    def run(x, mask):
        return layer(x, mask=mask)

    x = normal(B, T, D)
    np.testing.assert_allclose(run(x, MASK), layer(x, mask=MASK), atol=1e-6)
    for mask in (MASK.T, MASK[:, :1]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="mask with the axes of the input"):
            run(x, mask)
    with pytest.raises(ValueError, match=r"Received: mask.shape=<unknown>"):
        tf.function(layer).get_concrete_function(x, mask=tf.TensorSpec(None, tf.bool))


def test_a_mask_of_no_token_and_that_of_an_embedding():
    layer = moe()
    x = normal(B, T, D)
    assert not np.any(layer(x, mask=np.zeros([B, T], bool)))
    embedding = keras.layers.Embedding(9, D, mask_zero=True)
    ids = np.array([[4, 7, 0], [0, 0, 0]])
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, layer(embedding(inputs)))
    expected = layer(tf.constant(embedding(ids).numpy()), mask=ids != 0)
    np.testing.assert_allclose(model(ids), expected, atol=1e-6)
    assert not np.any(model(ids)[1])


@pytest.mark.parametrize("shape", [(D,), (T, D), (T, 4, D)])
def test_axes_of_every_number_and_few_tokens(shape):
    layer = moe()
    x = normal(B, *shape)
    expected = tf.reshape(layer(tf.reshape(x, [-1, D])), x.shape)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer(x[:0]).shape == (0, *shape)
    assert layer(x[:1]).shape == (1, *shape)


FLOATS = [np.float64, np.float16]


def tasks():
    return MMoE(MLPExperts(3, (4,)), num_tasks=2)


@pytest.mark.parametrize("make", [moe, tasks])
def test_floats_of_every_kind_are_cast(make):
    layer = make()
    x = np.random.default_rng(0).integers(0, 3, (B, D))
    for dtype in FLOATS:
        given = x.astype(dtype)
        expected = layer(tf.constant(given.astype("float32")))
        np.testing.assert_allclose(layer(given), expected, atol=1e-6, err_msg=str(dtype))
        np.testing.assert_allclose(layer(tf.constant(given)), expected, atol=1e-6)
    variable = keras.Variable(given, dtype="float32")
    np.testing.assert_allclose(layer(variable), expected, atol=1e-6)


WRONG_INPUTS = {
    "ragged": (
        lambda x: tf.RaggedTensor.from_tensor(x[None], lengths=[1]),
        "RaggedTensor of shape .*sequence_mask",
    ),
    "sparse": (tf.sparse.from_dense, "SparseTensor of shape .*tf.sparse.to_dense"),
    "text": (tf.strings.as_string, "dtype=string. Embed ids first"),
    "ids": (lambda x: tf.cast(x, tf.int32), "dtype=int32. Embed ids first, and cast numbers"),
    "booleans": (lambda x: x > 0, "Expected inputs of floats. Received: dtype=bool"),
    "complex": (lambda x: tf.cast(x, tf.complex64), "dtype=complex64"),
    "dict": (lambda x: {"a": x}, "Expected one tensor. Received: inputs={'a'"),
    "two": (lambda x: [x, x], r"expects 1 input\(s\),? but it received 2"),
    "none": (lambda x: None, "Got 'None'"),
    "one axis": (lambda x: x[0], "ndim=1"),
    "no axis": (lambda x: x[0, 0], "ndim=0"),
    "another width": (lambda x: x[:, :3], r"-1 .* value 5, but .* shape \(2, 3\)"),
}


@pytest.mark.parametrize("make", [moe, tasks])
@pytest.mark.parametrize("kind", WRONG_INPUTS)
def test_what_is_no_input_is_refused(make, kind):
    change, words = WRONG_INPUTS[kind]
    layer = make()
    x = normal(B, D)
    layer(x)
    if kind == "ragged" and make is tasks:  # of two axes
        x = tf.reshape(x, [1, -1])[0]
    with pytest.raises(ValueError, match=f"(?s){words}"):
        layer(change(x))
