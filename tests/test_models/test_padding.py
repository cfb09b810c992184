"""Padding anywhere in a row: as if it were not there, in the call, step by step, and in text."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import slow_but
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import serving_mode
from moe_zoo.layers import MoE
from moe_zoo.models import LSTMLanguageModel, beam_search, generate, mixture_block
from moe_zoo.models.decoding.generation import tokens_fed
from moe_zoo.routers import SwitchRouter
from moe_zoo.scopes import record_plans
from small_transformers import KINDS, POSITIONS, SHORT, D, E, F, V, inputs, make, one_by_one

GENERATING = ["language_model", "seq2seq"]
# Where the tokens of a row of 5 stand among 11: left of padding, right of it, between, everywhere.
PLACES = [[0, 1, 2, 3, 4], [6, 7, 8, 9, 10], [0, 1, 7, 8, 10], [2, 3, 4, 6, 9], [1, 4, 5, 6, 7]]
# In encoders without padding between them, which counts in the distances.
TOGETHER = [[start, start + 1, start + 2, start + 3, start + 4] for start in (0, 6, 3, 2, 5)]
LENGTH = 11
# Slots that do not depend on how long a row is, fewer than tokens, in each row alone.
TIGHT = MoE(
    SwitchRouter(jitter=0.0, expert_capacity=2), FeedForwardExperts(E, F), group_by_row=True
)


def spread(ids, places=PLACES):
    """Each row of 5 tokens at its places among padding."""
    rows = np.zeros((len(ids), LENGTH), "int32")
    for row, where, short in zip(rows, places, ids, strict=True):
        row[where] = short
    return rows


def given(kind):
    """Five rows without padding, and the same with it."""
    bare = inputs(kind, batch=len(PLACES))
    if kind == "seq2seq":
        bare["source"] = bare["source"][:, :5]
        source = spread(bare["source"], TOGETHER)
        return bare, {"source": source, "target": spread(bare["target"])}
    return bare, spread(bare, TOGETHER if kind == "classifier" else PLACES)


def at_tokens(x):
    """Of `[5, 11, ...]` what stands at tokens: `[5, 5, ...]`."""
    return np.stack([row[places] for row, places in zip(np.asarray(x), PLACES, strict=True)])


def at_padding(bare):
    """What `[5, 5, ...]` of the tokens becomes where padding repeats the last one's."""
    rows = np.zeros((len(PLACES), LENGTH, *bare.shape[2:]), bare.dtype)
    for row, places, short in zip(rows, PLACES, np.asarray(bare), strict=True):
        for place in range(LENGTH):
            before = sum(p <= place for p in places)
            if before:
                row[place] = short[before - 1]
    return rows


def build(kind, **options):
    """A model whose targets begin with a token that is no padding."""
    begin = {"begins_with_padding": False} if kind == "seq2seq" else {}
    return make(kind, **begin, **options)


# === The call ===


@pytest.mark.parametrize("moe", [None, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_as_if_it_were_not_there(kind, position, moe):
    options = {} if moe is None else {"moe": moe}
    model = build(kind, position=POSITIONS[position], **options)
    bare, padded = given(kind)
    with record_plans() as plans:
        expected = model(bare).numpy()
    if moe is not None:
        assert any(np.any(~np.asarray(plan.kept)) for plan in plans.values())  # some are dropped
    with record_plans() as plans:
        found = model(padded).numpy()
    for path, plan in plans.items():
        ids = padded
        if kind == "seq2seq":
            ids = padded["target" if "decoder" in path else "source"]
        np.testing.assert_array_equal(
            plan.token_mask(), (ids != 0).reshape(np.shape(plan.token_mask()))
        )
    expected = expected if kind == "classifier" else at_padding(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_bare_rows(kind, position):
    model, slopes = build(kind, position=POSITIONS[position]), []
    for ids in given(kind):
        with tf.GradientTape() as tape:
            scores = tf.math.log_softmax(model(ids))[..., 3]
            if kind != "classifier":
                real = (ids["target"] if kind == "seq2seq" else ids) != 0
                scores = tf.boolean_mask(scores, real)
            loss = tf.reduce_sum(scores)
        found = tape.gradient(loss, [x.value for x in model.trainable_weights])
        slopes.append([tf.convert_to_tensor(x) for x in found])
    for weight, one, other in zip(model.trainable_weights, *slopes, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=2e-4, err_msg=weight.path)


def test_a_target_may_begin_with_padding():
    """As T5's: the first token is real, whatever padding stands between it and the others."""
    model = make("seq2seq", position=POSITIONS["relative"])
    bare, padded = given("seq2seq")
    for ids in (bare, padded):
        ids["target"][:, 0] = 0
    for row, places in enumerate(PLACES):
        padded["target"][row, places[0]] = 0
    expected, found = model(bare).numpy(), model(padded).numpy()
    np.testing.assert_allclose(at_tokens(found), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_padding_alone(kind):
    model, (bare, _) = build(kind), given(kind)
    none = keras.tree.map_structure(lambda ids: np.concatenate([ids, 0 * ids[:2]]), bare)
    found, expected = model(none).numpy(), model(bare).numpy()
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-3, atol=1e-4)
    if kind == "classifier":
        expected = np.tile(model.head.bias, (2, 1))
    else:
        expected = np.zeros((2, 5, V))  # no state, no opinion
    np.testing.assert_array_equal(found[-2:], expected)


# === Step by step ===


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", GENERATING)
def test_steps_give_the_logits_of_the_whole(kind, position):
    model = build(kind, kv_heads=1, position=POSITIONS[position], **SHORT)
    _, padded = given(kind)
    found = one_by_one(model, kind, padded, length=LENGTH)
    np.testing.assert_allclose(found, model(padded), rtol=1e-3, atol=1e-4)


# === Text ===

SAMPLED = (7, 1.3, 9, 0.9, 5)


@pytest.mark.parametrize(
    ("kind", "position"),
    slow_but([("seq2seq", "relative")], [("language_model", "rotary"), ("seq2seq", "relative")]),
)
def test_text_of_padded_prompts_is_that_of_bare_ones(kind, position):
    model = build(kind, position=POSITIONS[position], **{**SHORT, "moe": None})
    many = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[many, many])
    def write(source, ids):
        """Greedy, drawn and searched; no text ends early."""
        prompts, shared = tf.RaggedTensor.from_tensor(ids), {"end": -1, "never": [0]}
        first = source if kind == "seq2seq" else tf.shape(ids)[0]
        states = model.initial_states(first, tokens_fed(prompts, 7))
        greedy = generate(model.step, states, prompts, 7, 0.0, 0, 1.0, 0, **shared)
        drawn = generate(model.step, states, prompts, *SAMPLED, **shared)
        found = beam_search(model.step, states, prompts, 7, 3, 0.6, **shared)
        return [texts[:, -7:] for texts in (greedy, drawn, found)]

    written = []
    with serving_mode(model):
        for ids in given(kind):
            both = (ids["source"], ids["target"]) if kind == "seq2seq" else (ids, ids)
            written.append([texts.to_list() for texts in write(*both)])
    assert written[0] == written[1]
    assert len({str(texts) for texts in written[0]}) == 3


ALONE = "at least one token in each {}.* of padding .0. alone"


@pytest.mark.parametrize("kind", ["lstm", *GENERATING])
def test_padding_alone_is_no_prompt(kind):
    if kind == "lstm":
        model = LSTMLanguageModel(V, D, [], pad_id=0)
    else:
        model = build(kind, **{**SHORT, "moe": None})
    rows = np.array([[5, 0], [0, 0]], "int32")

    def states(sources):
        return model.initial_states(sources if kind == "seq2seq" else 2, 3)

    def write(prompts, search=False):
        if search:
            return beam_search(model.step, states(rows[:, ::-1] + 1), prompts, 2, 2, 0.6, end=-1)
        return generate(model.step, states(rows + 1), prompts, 2, 0.0, 0, 1.0, 0, end=-1)

    for search in (False, True):
        with pytest.raises(ValueError, match=ALONE.format("prompt")):
            write(rows, search)
    assert write(rows[:1].repeat(2, 0)).shape[0] == 2
    if kind == "seq2seq":
        with pytest.raises(ValueError, match=ALONE.format("source") + ". End each source by"):
            states(rows)
        with pytest.raises(tf.errors.InvalidArgumentError, match=ALONE.format("source")):
            tf.function(lambda x: tf.nest.flatten(states(x)))(tf.constant(rows))


def test_a_prompt_may_begin_with_padding():
    model = make(**{**SHORT, "moe": None}, begins_with_padding=True)
    prompts = [[0], [0]]
    states = model.initial_states(2, 2)
    assert generate(model.step, states, prompts, 1, 0.0, 0, 1.0, 0, end=-1).shape[0] == 2


# === A recurrent model ===


@pytest.mark.parametrize("length", [None, LENGTH], ids=["loop", "unrolled"])
def test_a_recurrent_state_does_not_move_on_padding(length):
    def lstm(sequence_length):
        keras.utils.set_random_seed(3)
        middle = [mixture_block(E, F, 2)]
        return LSTMLanguageModel(V, D, middle, sequence_length=sequence_length, pad_id=0)

    bare, padded = given("language_model")
    expected = at_padding(lstm(None)(bare).numpy())
    bias = np.zeros(V)  # as it is at first: what stands before the first token has no opinion
    assert np.all(expected[1, :6] == bias)
    model = lstm(length)
    np.testing.assert_allclose(model(padded), expected, rtol=1e-3, atol=1e-5)
    found = one_by_one(model, "lstm", padded, LENGTH)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
