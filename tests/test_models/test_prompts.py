"""Prompts and options in whatever form they come: one result, or an error that says what to do."""

import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models import beam_search, generate
from moe_zoo.models.decoding.generation import tokens_fed
from moe_zoo.models.decoding.prompts import ragged_prompts

V = 11


def count(tokens, states, place):
    """After t comes t + 1."""
    return 9.0 * tf.one_hot((tokens + 1) % V, V), states


FORMS = {
    "lists": [[4, 2], [6, 5]],
    "tuples": ((4, 2), (6, 5)),
    "array": np.array([[4, 2], [6, 5]]),
    "int64": tf.constant([[4, 2], [6, 5]], tf.int64),
    "ragged": tf.ragged.constant([[4, 2], [6, 5]], tf.int64),
    "ragged by int32": tf.ragged.constant([[4, 2], [6, 5]], tf.int32, row_splits_dtype=tf.int32),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    prompts = FORMS[form]
    assert ragged_prompts(prompts).to_list() == [[4, 2], [6, 5]]
    assert tokens_fed(prompts, 3) == 4
    expected = [[4, 2, 3, 4, 5], [6, 5, 6, 7, 8]]
    assert generate(count, [], prompts, 3, 0, 0, 1, 0, end=-1).to_list() == expected
    assert beam_search(count, [], prompts, 3, 2, 0, end=-1).to_list() == expected


def test_numbers_of_other_types():
    """A temperature of 1 is one of 1.0; NumPy's numbers and wide tensors are numbers."""
    found = [
        generate(count, [], [[4]], *options, end=-1).to_list()
        for options in (
            (5, 1.0, 3, 1.0, 7),
            (5, 1, 3, 1, 7),
            (np.int64(5), np.float64(1), np.int64(3), np.float32(1), np.int64(7)),
            (
                tf.constant(5, tf.int64),
                tf.constant(1, tf.float64),
                3,
                1.0,
                tf.constant(7, tf.int64),
            ),
        )
    ]
    assert found == [found[0]] * 4


def test_no_new_tokens_and_no_rows():
    assert generate(count, [], [[4], [2, 3]], 0, 1.0, 0, 1.0, 0, end=-1).to_list() == [[4], [2, 3]]
    assert beam_search(count, [], [[4], [2, 3]], 0, 2, 0.0, end=-1).to_list() == [[4], [2, 3]]
    assert generate(count, [], np.zeros((0, 3), int), 5, 0.0, 0, 1.0, 0, end=-1).to_list() == []
    assert generate(count, [], [], 5, 0.0, 0, 1.0, 0, end=-1).to_list() == []


def test_a_row_draws_alone():
    """The same chances whatever stands beside it, and however many tokens are to come."""
    options = (9.0, 0, 1.0, 3)  # next to uniform
    beside = generate(count, [], [[4], [2, 3, 5, 7]], 6, *options, end=-1).to_list()
    alone = generate(count, [], [[4]], 8, *options, end=-1).to_list()
    assert alone[0][:7] == beside[0]
    padded = generate(count, [], [[0, 0, 4], [2, 3, 5]], 6, *options, end=-1).to_list()
    assert padded[0][2:] == beside[0]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[4], []], "at least one token in each prompt. Received: an empty one. Give a list of"),
        ([4, 2], "Expected prompts of ids. Received: .*Give a list of ids for each text"),
        (np.array([4, 2]), r"Received: prompts.shape=\(2,\), prompts.dtype=int64. Give a list"),
        ([[0.5]], "of whole numbers. Received: .*prompts.dtype=float32"),
        ([["a"]], "of whole numbers. Received: .*prompts.dtype=string"),
        ([[4, 2**32]], "Expected tokens from -.*Received: tokens from 4 to 4294967296. Take"),
    ],
)
def test_what_is_no_prompt(prompts, message):
    for write in (
        lambda: generate(count, [], prompts, 3, 0.0, 0, 1.0, 0, end=-1),
        lambda: beam_search(count, [], prompts, 3, 2, 0.0, end=-1),
        lambda: tokens_fed(prompts, 3),
    ):
        with pytest.raises(ValueError, match=message):
            write()


def test_an_empty_prompt_in_a_graph():
    run = tf.function(
        lambda prompts: generate(count, [], prompts, 3, 0.0, 0, 1.0, 0, end=-1),
        input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one token in each prompt"):
        run(tf.ragged.constant([[4], []], tf.int32))
