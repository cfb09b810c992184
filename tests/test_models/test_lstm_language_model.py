"""The LSTM language model: against loops over time and tokens, its step, saving, and its sizes."""

import copy
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.common import global_state

from moe_zoo.models import (
    LSTM_LANGUAGE_MODELS,
    LSTMLanguageModel,
    count_core_parameters,
    dense_block,
    mixture_block,
)
from moe_zoo.models.parameters import WAITING, weights_without_values
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter
from reference import moe as reference

V, D, E, F, K, B, T = 23, 7, 5, 11, 2, 3, 13
MIDDLES = {
    "mixture": lambda: mixture_block(E, F, K),
    "dense": lambda: dense_block([F, F + 2], D),
    "lstm": lambda: keras.layers.LSTM(D, return_sequences=True),
}
WITH_STATES = {**MIDDLES, "gru": lambda: keras.layers.GRU(D, return_sequences=True)}


def make(middle="mixture", **kwargs):
    """A model whose every weight is drawn from N(0, 1/2), biases and noise kernel included."""
    return randomize(LSTMLanguageModel(V, D, [WITH_STATES[middle]()], **kwargs))


def randomize(model, seed=1):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return model


def tokens(batch=B, length=T, seed=2):
    return np.random.default_rng(seed).integers(0, V, (batch, length)).astype("int32")


def float64(variable):
    return np.asarray(variable, np.float64)


# === Slow version ===


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lstm(x, layer):
    """h_t = o tanh(c_t), c_t = f c_(t-1) + i tanh(z_c) of one sequence [T, D]; gates i, f, c, o."""
    kernel, recurrent = float64(layer.cell.kernel), float64(layer.cell.recurrent_kernel)
    bias = 0.0 if layer.cell.bias is None else float64(layer.cell.bias)
    h = c = np.zeros(recurrent.shape[0])
    outputs = []
    for step in x:
        z_i, z_f, z_c, z_o = np.split(step @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(z_f) * c + sigmoid(z_i) * np.tanh(z_c)
        h = sigmoid(z_o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def mixture(x, layer):
    """Sigmoid of the weighted sum of the K best experts, without noise and without drops."""
    experts = layer.experts
    plan = reference.noisy_top_k_plan(x @ float64(layer.router.kernel), len(x), top_k=K)

    def expert(e, token):
        names = ("kernel_in", "bias_in", "kernel_out", "bias_out")
        weights = [getattr(experts, name) for name in names]
        w1, b1, w2, b2 = (0.0 if w is None else float64(w)[e] for w in weights)
        return reference.feed_forward(token, w1, b1, w2, b2, reference.relu)

    return sigmoid(reference.moe(x, plan, expert))


def slow_logits(model, ids):
    """Embedding, then x + LSTM(x), x + MoE(x), x + LSTM(x), logits, one text at a time."""
    first, middle, last = model.blocks
    moe = middle.layers[0]
    rows = []
    for text in ids:
        x = float64(model.embedding.embeddings)[text]
        x = x + lstm(x, first)
        x = x + mixture(x, moe)
        x = x + lstm(x, last)
        bias = 0.0 if model.logits.bias is None else float64(model.logits.bias)
        rows.append(x @ float64(model.logits.kernel) + bias)
    return np.array(rows)


@pytest.mark.parametrize("use_bias", [True, False])
def test_the_whole_model_against_loops(use_bias):
    block = mixture_block(E, F, K, use_bias=use_bias)
    model = randomize(LSTMLanguageModel(V, D, [block], use_bias=use_bias))
    ids = tokens()
    # Some 40 float32 products and sums of terms of size 1 lie between tokens and logits.
    np.testing.assert_allclose(model(ids), slow_logits(model, ids), rtol=1e-4, atol=1e-4)


def test_dropout_comes_before_the_residual_sum_and_only_in_training():
    # All blocks give zero, so a logit is what survives of the embedding after its one dropout.
    model = make("dense", dropout=0.5)
    for weight in model.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    model.blocks[1].layers[-2].bias.assign(tf.fill([D], -99.0))  # sigmoid(-99) is zero
    model.embedding.embeddings.assign(tf.ones([V, D]))
    model.logits.kernel.assign(tf.eye(D, V))
    np.testing.assert_array_equal(model(tokens())[..., :D], np.ones((B, T, D)))
    dropped = model(tokens(), training=True).numpy()[..., :D]
    np.testing.assert_array_equal(np.unique(dropped), [0.0, 2.0])  # kept units weigh 1 / (1 - 0.5)


@pytest.mark.parametrize("middle", MIDDLES)
def test_gradients_reach_every_weight(middle):
    model = make(middle, dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        total = loss(tokens(seed=3), model(tokens(), training=True)) + sum(model.losses)
    gradients = tape.gradient(total, [w.value for w in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.any(tf.convert_to_tensor(gradient) != 0), weight.path


# === Step by step ===


@pytest.mark.parametrize("middle", WITH_STATES)
def test_step_by_step_gives_the_logits_of_the_full_pass(middle):
    model, ids = make(middle), tokens()
    expected = model(ids).numpy()
    states = model.initial_states(B, T)
    assert len(states) == (3 if middle in ("lstm", "gru") else 2)
    for place in range(T):
        logits, states = model.step(ids[:, place], states, place)
        assert logits.dtype == tf.float32
        np.testing.assert_allclose(logits, expected[:, place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_later_token_changes_no_earlier_logit(middle):
    model, ids, place = make(middle), tokens(), 5
    changed = ids.copy()
    changed[:, place] = (changed[:, place] + 1) % V
    before, after = model(ids).numpy(), model(changed).numpy()
    np.testing.assert_allclose(after[:, :place], before[:, :place], rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(after[:, place:] - before[:, place:]).max(-1) > 1e-4)


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_text_does_not_depend_on_its_batch_mates(middle):
    model, ids = make(middle), tokens(batch=B)
    for text, expected in zip(ids, model(ids).numpy(), strict=True):
        np.testing.assert_allclose(model(text[None])[0], expected, rtol=1e-5, atol=1e-5)


# === Saving ===


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("middle", MIDDLES)
def test_a_saved_model_is_the_same_whatever_the_policy_when_it_is_loaded(middle, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = make(middle, dropout=0.25)
    expected = logits(model)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, LSTMLanguageModel)
    assert loaded.dtype_policy.name == loaded.logits.dtype_policy.name == policy
    assert loaded.dropout == 0.25
    np.testing.assert_array_equal(logits(loaded), expected)
    other = LSTMLanguageModel.from_config(model.get_config())
    assert np.any(logits(other) != expected)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(logits(other), expected)


def logits(model):
    return tf.cast(model(tokens()), tf.float32).numpy()


@pytest.mark.parametrize("middle", MIDDLES)
def test_config_survives_json(middle):
    config = make(middle, dropout=0.25, use_bias=False, name="mine").get_config()
    config = json.loads(json.dumps(config))
    again = LSTMLanguageModel.from_config(copy.deepcopy(config))
    assert json.loads(json.dumps(again.get_config())) == config
    assert again.name == "mine"
    assert all(layer.cell.bias is None for layer in (again.blocks[0], again.blocks[-1]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_dtype_of_a_preset_reaches_all_layers_but_the_router(policy):
    model = LSTMLanguageModel.from_sizes("small_moe_32", V, num_experts=E, dtype=policy)
    moe = model.middle[0].layers[0]
    first, _, last = model.blocks
    compute = policy.removeprefix("mixed_")
    for layer in (model.embedding, first, moe, moe.experts, last, model.logits):
        assert layer.compute_dtype == compute, layer.path
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert model(tokens()).dtype == compute
    assert moe.router(tf.ones([1, 3, 128])).gates.dtype == tf.float32


# === Presets ===

CELL = 2 * 4 * 512 * 512  # an LSTM without biases: 512 inputs and 512 states to 4 * 512 gates
EXPERT = 2 * 512 * 1024
GATES = 2 * 512  # a column of the gate's matrix and one of the noise's
PUBLISHED = {  # parameters in millions as the paper counts them, and what they are made of
    "moe_4": (8.393, 2 * CELL + 4 * (EXPERT + GATES)),
    "moe_32": (37.782, 2 * CELL + 32 * (EXPERT + GATES)),
    "moe_256": (272.892, 2 * CELL + 256 * (EXPERT + GATES)),
    "moe_1_wide": (8.389, 2 * CELL + 2 * 512 * 4096),
    "moe_1_deep": (8.389, 2 * CELL + 512 * 1024 + 3 * 1024 * 1024 + 1024 * 512),
    "4xlstm": (8.389, 4 * CELL),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_sizes_of_the_papers_models(preset):
    millions, exact = PUBLISHED[preset]
    assert round(exact / 1e6, 3) == millions
    assert count_core_parameters(preset) == exact


@pytest.mark.parametrize("preset", LSTM_LANGUAGE_MODELS)
def test_the_table_of_presets_holds_their_sizes(preset):
    assert LSTM_LANGUAGE_MODELS[preset]["core_parameters"] == count_core_parameters(preset)


@pytest.mark.parametrize("preset", ["moe_4", "moe_1_wide", "moe_1_deep", "small_moe_32"])
def test_only_the_papers_presets_pass_the_middle_through_a_sigmoid(preset):
    with weights_without_values():
        model = LSTMLanguageModel.from_sizes(preset, V)
    activation = model.middle[0].layers[-1].activation.__name__
    assert activation == ("linear" if preset.startswith("small") else "sigmoid")


def test_a_counted_model_is_the_one_that_is_made():
    # Embedding 23 x 128, softmax 128 x 23 and 23 biases.
    model = LSTMLanguageModel.from_sizes("small_moe_32", V)
    assert model.count_params() - (2 * V * 128 + V) - state_of(model) == count_core_parameters(
        "small_moe_32"
    )


def state_of(model):
    """Size of what a model keeps besides weights, such as statistics and seeds."""
    return sum(int(np.prod(v.shape)) for v in model.weights) - sum(
        int(np.prod(v.shape)) for v in model.trainable_weights
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_counting_takes_no_memory():
    def peak():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    count_core_parameters("moe_4")  # what Keras and TensorFlow load at first use
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    count_core_parameters("moe_256")
    assert peak() - before < 100  # MiB; the weights would take 1,041


def test_counting_leaves_keras_as_it_was():
    with keras.StatelessScope(initialize_variables=False):
        waiting = keras.Variable("zeros", shape=(3,))  # of somebody else, to be filled later
    before = identities()
    assert id(waiting) in before
    count_core_parameters("moe_256")
    assert identities() == before
    with pytest.raises(RuntimeError, match="in the middle"), weights_without_values():
        keras.layers.Dense(3).build((None, 2))
        raise RuntimeError("in the middle")
    assert identities() == before
    with keras.StatelessScope():  # fills whatever waits at its end
        layer = keras.layers.Dense(3)
        layer.build((None, 2))
    np.testing.assert_array_equal(waiting, np.zeros(3))
    assert layer(tf.ones([1, 2])).shape == (1, 3)
    model = make()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.train_on_batch(tokens(), tokens(), return_dict=True)["loss"])


def identities():
    """Of the variables that the end of the next scope will fill."""
    return [id(variable) for variable in global_state.get_global_attribute(WAITING)]


@pytest.mark.parametrize(
    "router",
    [SwitchRouter(), GShardRouter(top_k=3), NoisyTopKRouter(top_k=K, capacity_factor=1.0)],
)
def test_a_preset_with_another_router_and_number_of_experts(router):
    model = LSTMLanguageModel.from_sizes("small_moe_32", V, router=router, num_experts=E)
    moe = model.middle[0].layers[0]
    assert moe.router is router
    assert moe.experts.num_experts == E
    assert model(tokens(), training=True).shape == (B, T, V)


def test_the_presets_own_router_drops_nothing():
    model = LSTMLanguageModel.from_sizes("small_moe_32", V, num_experts=E)
    router = model.middle[0].layers[0].router
    assert router.top_k == 4
    assert router.capacity_factor is None and router.eval_capacity_factor is None


# === Bad input ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, D), r"whole number of at least 2\. Received: vocabulary_size=1\."),
        ((V, 0), r"whole number of at least 1\. Received: width=0\."),
        ((V, -3), r"Received: width=-3\."),
        ((V, 2.5), r"Received: width=2\.5\."),
    ],
)
def test_sizes_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        LSTMLanguageModel(*arguments, middle=[])


def test_an_unknown_preset_is_told_the_nearest_names():
    expected = r"Received: preset='moe_33'\. Did you mean 'moe_32'"
    with pytest.raises(ValueError, match=expected):
        LSTMLanguageModel.from_sizes("moe_33", V)
    with pytest.raises(ValueError, match=r"Received: preset='~'\. See `moe-zoo list`\."):
        LSTMLanguageModel.from_sizes("~", V)


def test_a_recurrent_layer_within_a_block_cannot_generate():
    block = keras.Sequential([keras.layers.GRU(D, return_sequences=True)], name="hidden")
    model = LSTMLanguageModel(V, D, [block])
    message = r"that are middle blocks themselves\. Received: 'gru.*' in the middle block 'hidden'"
    with pytest.raises(ValueError, match=message):
        model.generate([[1, 2]], max_new_tokens=2)


@pytest.mark.parametrize("wrong", [{"num_experts": 3}, {"router": SwitchRouter()}])
def test_a_dense_preset_takes_no_experts(wrong):
    message = "Expected a preset with a mixture of experts. Received: preset='4xlstm'"
    with pytest.raises(ValueError, match=message):
        LSTMLanguageModel.from_sizes("4xlstm", V, **wrong)


def test_more_choices_than_experts():
    message = r"Expected top_k <= num_experts\. Received: top_k=4, num_experts=3\."
    with pytest.raises(ValueError, match=message):
        LSTMLanguageModel.from_sizes("small_moe_32", V, num_experts=3)
