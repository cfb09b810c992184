"""Experts: both layouts of tokens against the formula of one token, weights, dropout, arguments."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_test import run_layer_test
from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.plans import SortedRows
from moe_zoo.plans.grouped_matmul import grouped_matmul
from reference import moe as reference

E, M, D, F, OUT = 5, 3, 7, 11, 2
CLASSES = [FeedForwardExperts, GatedExperts]


def build(experts_class, width=D, **kwargs):
    """Experts whose biases are not zero."""
    kwargs = {"num_experts": E, "hidden_dim": F, "bias_initializer": "random_normal", **kwargs}
    experts = experts_class(**kwargs)
    experts.build((kwargs["num_experts"], None, width))
    return experts


def one_expert(experts):
    """The papers' formula of expert e, with the layer's weights in float64."""
    weights = {w.name: w.numpy().astype(np.float64) for w in experts.weights}
    activation = {"relu": reference.relu, "silu": reference.silu, "tanh": np.tanh}
    act = activation[keras.activations.serialize(experts.activation)]

    def of(name, e):
        return weights[f"kernel_{name}"][e], weights.get(f"bias_{name}", np.zeros(E))[e]

    def compute(e, x):
        if isinstance(experts, GatedExperts):
            parts = (*of("gate", e), *of("in", e), *of("out", e))
            return reference.gated_feed_forward(x, *parts, act)
        return reference.feed_forward(x, *of("in", e), *of("out", e), act)

    return compute


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("experts_class", CLASSES)
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("output_dim", [None, OUT])
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
def test_every_slot_equals_the_formula(experts_class, use_bias, output_dim, activation):
    experts = build(experts_class, use_bias=use_bias, output_dim=output_dim, activation=activation)
    slots = normal(E, M, D)
    outputs = experts(tf.constant(slots))
    expert = one_expert(experts)
    expected = [[expert(e, slots[e, m]) for m in range(M)] for e in range(E)]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert outputs.shape == experts.compute_output_shape(slots.shape)


@pytest.mark.parametrize("experts_class", CLASSES)
@pytest.mark.parametrize("counts", [[3, 0, 1, 4, 2], [0, 0, 0, 0, 13], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("use_bias", [False, True])
def test_sorted_rows_equal_the_formula(experts_class, counts, use_bias):
    experts = build(experts_class, output_dim=OUT, use_bias=use_bias)
    rows = normal(13, D)
    outputs = experts(tf.constant(rows), layout=SortedRows(tf.constant(counts))).numpy()
    expert = one_expert(experts)
    owners = np.repeat(np.arange(E), counts)
    for row, e in enumerate(owners):
        np.testing.assert_allclose(outputs[row], expert(e, rows[row]), atol=1e-5)
    assert outputs.shape == (13, OUT)


def gradients(function, *tensors):
    tensors = [tf.convert_to_tensor(x) for x in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        loss = tf.reduce_sum(outputs * normal(*outputs.shape, seed=9))
    return tape.gradient(loss, tensors)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=7), st.integers(0, 4))
@settings(max_examples=20)
def test_grouped_matmul_and_its_gradients_equal_one_product_per_expert(counts, spare):
    """The hand-written gradient against automatic differentiation of a plain loop in Python."""
    rows = normal(sum(counts) + spare, D)
    kernel = normal(len(counts), D, F)

    def plain(rows, kernel):
        parts = tf.split(rows, [*counts, spare])
        products = [part @ kernel[e] for e, part in enumerate(parts[:-1])]
        return tf.concat([*products, tf.zeros([spare, F])], 0)

    def ours(rows, kernel):
        return grouped_matmul(rows, kernel, tf.constant(counts))

    np.testing.assert_allclose(ours(rows, kernel), plain(rows, kernel), atol=1e-5)
    pairs = zip(gradients(ours, rows, kernel), gradients(plain, rows, kernel), strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, tf.convert_to_tensor(theirs), atol=1e-4)


@pytest.mark.parametrize("experts_class", CLASSES)
def test_both_layouts_have_the_same_weight_gradients(experts_class):
    experts = build(experts_class)
    slots = normal(E, M, D)
    rows, counts = slots.reshape(E * M, D), tf.fill([E], M)
    upstream = tf.constant(normal(E, M, D, seed=1))
    with tf.GradientTape(persistent=True) as tape:
        stacked = tf.reduce_sum(experts(tf.constant(slots)) * upstream)
        grouped = experts(tf.constant(rows), layout=SortedRows(counts))
        grouped = tf.reduce_sum(grouped * tf.reshape(upstream, [E * M, D]))
    weights = experts.trainable_weights
    pairs = zip(tape.gradient(stacked, weights), tape.gradient(grouped, weights), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(two), atol=1e-4)


def test_grouped_matmul_in_a_graph_with_unknown_sizes():
    signature = [tf.TensorSpec([None, D]), tf.TensorSpec([3, D, F]), tf.TensorSpec([3], tf.int32)]
    product = tf.function(grouped_matmul, input_signature=signature)
    kernel = normal(3, D, F)
    for counts in ([2, 0, 3], [0, 0, 0], [0, 1, 0]):
        rows = normal(sum(counts) + 1, D)
        expected = np.zeros((len(rows), F))
        for row, e in enumerate(np.repeat(np.arange(3), counts)):
            expected[row] = rows[row] @ kernel[e]
        np.testing.assert_allclose(product(rows, kernel, counts), expected, atol=1e-5)


# === Weights ===


@pytest.mark.parametrize("experts_class", CLASSES)
@pytest.mark.parametrize("seed", [None, 4])
def test_trap_no_two_experts_start_alike(experts_class, seed):
    initializer = keras.initializers.GlorotUniform(seed=seed)
    experts = build(experts_class, kernel_initializer=initializer)
    for kernel in (w.numpy() for w in experts.weights if "kernel" in w.name):
        for one, two in np.argwhere(~np.eye(E, dtype=bool)):
            assert not np.any(kernel[one] == kernel[two])


@pytest.mark.parametrize("experts_class", CLASSES)
@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "lecun_normal", "random_normal"])
def test_each_expert_has_the_spread_of_a_single_dense_layer(experts_class, name):
    count, width, hidden = 13, 61, 67  # 53,131 draws: the deviation is known to 0.3%
    experts = build(
        experts_class, width, num_experts=count, hidden_dim=hidden, kernel_initializer=name
    )
    dense = keras.initializers.get(name)((width, 40 * hidden)).numpy()
    fan = {"glorot_uniform": 2 / (width + hidden), "he_normal": 2 / width}
    expected = np.sqrt(fan.get(name, 1 / width)) if name != "random_normal" else np.std(dense)
    assert np.std(experts.kernel_in.numpy()) == pytest.approx(expected, rel=0.02)


def test_weights_are_stacked():
    shapes = {w.name: tuple(w.shape) for w in build(GatedExperts, use_bias=True).weights}
    assert shapes == {
        "kernel_gate": (E, D, F),
        "bias_gate": (E, F),
        "kernel_in": (E, D, F),
        "bias_in": (E, F),
        "kernel_out": (E, F, D),
        "bias_out": (E, D),
    }
    assert len(build(FeedForwardExperts, use_bias=False).weights) == 2


# === Dropout ===


def test_dropout_is_on_the_hidden_layer_and_only_in_training():
    # Hidden units are 1 (bias) and the output adds them up: in training each output is the number
    # of kept units over (1 - rate) = 2 * kept, so even; in evaluation it is F.
    experts = build(FeedForwardExperts, output_dim=1, dropout=0.5)
    for weight, value in ((experts.kernel_in, 0.0), (experts.bias_in, 1.0)):
        weight.assign(tf.fill(weight.shape, value))
    experts.kernel_out.assign(tf.ones(experts.kernel_out.shape))
    experts.bias_out.assign(tf.zeros(experts.bias_out.shape))
    slots = tf.constant(normal(E, 200, D))
    kept = experts(slots, training=True).numpy() / 2
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-5)
    draws = E * 200 * F
    assert abs(kept.sum() / draws - 0.5) <= 4 * 0.5 / np.sqrt(draws)
    for training in (False, None):
        np.testing.assert_allclose(experts(slots, training=training), np.full((E, 200, 1), F))


# === Arguments ===


@pytest.mark.parametrize("experts_class", CLASSES)
def test_keras_layer_test(experts_class):
    run_layer_test(
        experts_class,
        {"num_experts": E, "hidden_dim": F, "output_dim": OUT, "dropout": 0.1, "use_bias": True},
        input_shape=(E, M, D),
        expected_output_shape=(E, M, OUT),
        expected_num_trainable_weights=4 if experts_class is FeedForwardExperts else 6,
        expected_num_non_trainable_variables=1,
        expected_num_seed_generators=1,
        run_training_check=False,  # it changes the batch, which is E here
    )


@pytest.mark.parametrize("experts_class", CLASSES)
def test_configuration_holds_every_argument(experts_class):
    changed = {
        "num_experts": 3,
        "hidden_dim": 4,
        "output_dim": 6,
        "activation": "tanh",
        "use_bias": experts_class is GatedExperts,
        "dropout": 0.25,
        "dtype": "mixed_bfloat16",
    }
    experts = experts_class(kernel_initializer="he_normal", bias_initializer="ones", **changed)
    config = experts_class.from_config(experts.get_config()).get_config()
    assert {name: config[name] for name in changed if name != "dtype"} == {
        name: value for name, value in changed.items() if name != "dtype"
    }
    assert config["dtype"]["config"]["name"] == "mixed_bfloat16"
    assert config["kernel_initializer"]["class_name"] == "HeNormal"
    assert config["bias_initializer"]["class_name"] == "Ones"


@pytest.mark.parametrize("experts_class", CLASSES)
@pytest.mark.parametrize("name", ["num_experts", "hidden_dim", "output_dim"])
@pytest.mark.parametrize("value", [0, -3, 2.5])
def test_sizes_that_are_not_positive_whole_numbers(experts_class, name, value):
    with pytest.raises(ValueError, match=f"Expected a whole number.*{name}={value}"):
        experts_class(**{"num_experts": E, "hidden_dim": F, name: value})


def test_compute_dtype_is_the_policys():
    for policy in ("mixed_bfloat16", "mixed_float16"):
        experts = build(FeedForwardExperts, dtype=policy)
        half = policy.removeprefix("mixed_")
        assert experts(tf.constant(normal(E, M, D))).dtype == half
        rows = experts(tf.constant(normal(E * M, D)), layout=SortedRows(tf.fill([E], M)))
        assert rows.dtype == half and experts.kernel_in.dtype == "float32"


@pytest.mark.parametrize(
    "initializer",
    [
        pytest.param("random_normal", id="by_name"),
        pytest.param(keras.initializers.GlorotUniform(seed=1), id="with_a_seed"),
        pytest.param(keras.initializers.TruncatedNormal(seed=1), id="no_variance_scaling"),
    ],
)
def test_weights_of_equal_shape_start_differently(initializer):
    experts = GatedExperts(3, 5, kernel_initializer=initializer)
    experts.build((3, None, 5))
    kernels = [experts.kernel_gate, experts.kernel_in, experts.kernel_out]
    values = [kernel.numpy() for kernel in kernels]
    for first, second in itertools.combinations(values, 2):
        assert np.abs(first - second).min() > 0
    if not isinstance(initializer, str):
        again = GatedExperts(3, 5, kernel_initializer=initializer)
        again.build((3, None, 5))
        np.testing.assert_array_equal(again.kernel_gate.numpy(), values[0])
