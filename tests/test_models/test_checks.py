"""Ids without a row and options out of their limits, in Python and in a SavedModel."""

import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models import (
    LSTMLanguageModel,
    beam_search,
    generate,
    mixture_block,
)
from moe_zoo.models.checks import check_ids, check_options
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.models.tokenizers.vocabulary import SPECIAL_PIECES
from moe_zoo.training.runs.serving import generate_in_fresh_process
from small_transformers import KINDS, SHORT, make

TOKENIZER = Tokenizer([*SPECIAL_PIECES, *"abcdefgh"])
V = TOKENIZER.vocabulary_size  # 11
USUAL = {
    "max_new_tokens": 3,
    "temperature": 0.7,
    "top_k": 5,
    "top_p": 1.0,
    "seed": 0,
    "num_beams": 1,
    "length_penalty": 0.6,
}
WRONG = [
    ("max_new_tokens", -1),
    ("max_new_tokens", 2**31 - 1),
    ("temperature", float("nan")),
    ("temperature", -1.0),
    ("temperature", float("inf")),
    ("top_k", -1),
    ("top_p", 2.0),
    ("top_p", -0.5),
    ("top_p", float("nan")),
    ("num_beams", 0),
    ("num_beams", -3),
    ("length_penalty", float("nan")),
    ("length_penalty", -1.0),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = LSTMLanguageModel(V, 5, [mixture_block(3, 7, 2)], tokenizer=TOKENIZER)
    model.export(folder)
    return folder


@pytest.fixture(scope="module")
def served(saved):
    return tf.saved_model.load(saved)


@pytest.mark.slow  # exports a model
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_served_option_out_of_its_limits_is_refused(served, name, value):
    beams = 1 + WRONG.index((name, value)) % 2  # what a search does not need is checked too
    options = {**USUAL, "num_beams": beams, name: value}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        served.generate(tf.constant(["ab"]), *options.values())
    said = str(caught.value)
    assert f"{name}" in said.split("Received: ")[1] and "Expected " in said
    assert f"[{value:.6g}]" in said.replace("2.14748365e+09", "2147483647") or str(value) in said


@pytest.mark.parametrize(
    ("name", "value"), [*WRONG, ("top_k", 1.5), ("seed", True), ("top_p", "1")]
)
def test_an_option_out_of_its_limits_is_refused_in_python(name, value):
    words = f"Expected .*{name}.*Received: {name}={value!r}. "
    with pytest.raises(ValueError, match=words):
        check_options(**{**USUAL, name: value})
    with pytest.raises(ValueError, match=words):
        generate_in_fresh_process("nowhere", ["ab"], **{**USUAL, name: value})


@pytest.mark.slow  # exports a model
def test_usual_options_are_left_as_they_are(served):
    assert check_options(**USUAL) == USUAL
    assert served.generate(tf.constant(["ab"]), *USUAL.values()).shape == [1]
    ends = {**USUAL, "max_new_tokens": 0, "temperature": 0.0, "top_k": 0, "top_p": 0.0}
    assert served.generate(tf.constant(["ab"]), *ends.values()).numpy().tolist() == [b"ab"]


def test_generate_and_beam_search_refuse_them_too():
    prompts = tf.ragged.constant([[1]])

    def step(tokens, states, place):
        return tf.one_hot(tokens, V), states

    with pytest.raises(ValueError, match="Received: top_p=2"):
        generate(step, [], prompts, 3, 0.5, 0, 2.0, 0, end=0)
    with pytest.raises(ValueError, match="Received: num_beams=0"):
        beam_search(step, [], prompts, 3, 0, 0.0, end=0)


# === Ids ===


@pytest.mark.slow  # exports a model
@pytest.mark.parametrize("wrong", [-1, V, 2**31 - 1, -(2**31)])
def test_a_served_id_without_a_row_is_refused(served, wrong):
    assert served.serve(tf.constant([[0, V - 1]])).shape == [1, 2, V]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        served.serve(tf.constant([[3, wrong]]))
    assert f"Expected tokens from 0 to {V - 1}. Received: tokens from" in str(caught.value)
    assert f"[{wrong}]" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_refuses_ids_without_a_row(kind):
    model = make(kind, **SHORT)
    good, bad = np.array([[2, 5, 3]]), [np.array([[2, wrong, 3]]) for wrong in (-1, 10**6)]
    inputs = bad
    if kind == "seq2seq":
        inputs = [{"source": good, "target": bad[0]}, {"source": bad[1], "target": good}]
    for values in inputs:
        with pytest.raises(
            ValueError, match=r"Received: tokens from (-1 to 3|2 to 1000000)\. Take"
        ):
            model(values)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected tokens from 0 to"):
            model.predict(values, verbose=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_refuses_what_a_cast_would_make_an_id(kind):
    """2^32 + 2 wraps to 2, 1.5 is cut to 1, and half precision rounds 257 to 256."""
    model, good = make(kind, **SHORT), np.array([[2, 5, 3]])

    def given(ids):
        return {"source": good, "target": ids} if kind == "seq2seq" else ids

    np.testing.assert_array_equal(model(given(good)), model(given(good.astype("uint8"))))
    with pytest.raises(ValueError, match=r"Received: tokens from 3 to 4294967298\. Take"):
        model(given(good + [[2**32, 0, 0]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 3 to|4294967298"):
        model.predict(given(good + [[2**32, 0, 0]]), verbose=0)
    for wrong in (1.0 * good, good > 2, good.astype("str")):
        with pytest.raises(ValueError, match=r"tokens of whole numbers. Received: dtype=.*int64"):
            model(given(wrong))


def test_decode_refuses_ids_without_a_piece():
    for ids in ([[3, -1]], [[3, V]], tf.ragged.constant([[3], [4, V]])):
        with pytest.raises(ValueError, match=f"Expected ids from 0 to {V - 1}. Received: ids from"):
            TOKENIZER.decode(ids)
    graph = tf.function(TOKENIZER.decode)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected ids from 0 to"):
        graph(tf.constant([[3, -1]]))
    empty = tf.zeros([2, 0], tf.int32)
    assert TOKENIZER.decode(empty).numpy().tolist() == [b"", b""]


def test_ids_that_xla_compiles_are_as_before():
    ids = tf.constant([[2, 3]])
    compiled = tf.function(lambda x: check_ids(x, V), jit_compile=True)
    np.testing.assert_array_equal(compiled(ids), ids)
