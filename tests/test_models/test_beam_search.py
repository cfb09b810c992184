"""Beam search: against the definition, against every text there is, and when it stops."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from moe_zoo.models import LSTMLanguageModel, beam_search, generate, mixture_block
from moe_zoo.models.decoding.generation import tokens_fed
from reference import generation as reference

END = 1
ROWS, FACTOR = 1009, 31  # of a table, and what the last token's row is multiplied by


def row_of(text):
    """The table's row that follows a text: another one for (nearly) every text."""
    row = 0
    for token in text:
        row = (row * FACTOR + token + 1) % ROWS
    return row


def table_step(table):
    """A model whose next token depends on the whole text, by way of its state."""

    def step(tokens, states, place):
        rows = (states["row"] * FACTOR + tokens + 1) % ROWS
        seen = tf.concat([states["seen"][:, 1:], tokens[:, None]], 1)
        return tf.gather(table, rows), {"row": rows, "seen": seen}

    return step


def start(batch):
    return {"row": tf.zeros([batch], tf.int32), "seen": tf.zeros([batch, 3], tf.int32)}


@tf.function(
    input_signature=[
        tf.TensorSpec([ROWS, None], tf.float32),
        tf.RaggedTensorSpec([None, None], tf.int32),
        *(tf.TensorSpec([], dtype) for dtype in (tf.int32, tf.int32, tf.float32)),
    ]
)
def search(table, prompts, max_new_tokens, num_beams, length_penalty):
    states = start(prompts.nrows(tf.int32))
    options = (max_new_tokens, num_beams, length_penalty)
    return beam_search(table_step(table), states, prompts, *options, end=END)


def make_table(seed, size, spread=1.5):
    """Logits; the closer they lie together, the less does a likely beginning say."""
    table = np.random.default_rng(seed).normal(0, spread, (ROWS, size)).astype("float32")
    table[:, END] -= 1.0
    return table


def chances_of(table):
    def chances(text):
        logits = table[row_of(text)].astype("float64")
        return np.exp(logits) / np.exp(logits).sum()

    return chances


def without_end(prompt, new):
    return [*prompt, *(token for token in new if token != END)]


# === Against the definition ===


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 7),
    spread=st.sampled_from([0.5, 1.5]),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    max_new_tokens=st.integers(1, 7),
    num_beams=st.integers(1, 6),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
)
def test_the_definition(seed, size, spread, lengths, max_new_tokens, num_beams, length_penalty):
    table = make_table(seed, size, spread)
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, size, length).tolist() for length in lengths]
    options = (max_new_tokens, num_beams, length_penalty)
    found = search(table, tf.ragged.constant(prompts, tf.int32), *options).to_list()
    for prompt, text in zip(prompts, found, strict=True):
        expected = reference.beam_search(chances_of(table), prompt, *options, end=END)
        assert text == without_end(prompt, expected)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_enough_beams_find_the_best_of_all_texts(length_penalty):
    size, count, missed = 4, 4, 0
    prompt = [2]
    prompts = tf.ragged.constant([prompt], tf.int32)
    for seed in range(10):
        table = make_table(seed, size, spread=0.5)
        chances = chances_of(table)
        best = reference.best_of_all(chances, prompt, size, count, length_penalty, END)
        every = 3**count  # as many texts do not end
        assert search(table, prompts, count, every, length_penalty).to_list() == [
            without_end(prompt, best)
        ]
        greedy = search(table, prompts, count, 1, length_penalty).to_list()
        missed += greedy != [without_end(prompt, best)]
    assert missed >= 3  # the best one is not what comes by itself


def test_a_length_penalty_makes_texts_longer():
    tables = [make_table(seed, 5) for seed in range(7)]
    prompts = tf.ragged.constant([[0], [2, 3]], tf.int32)
    lengths = {
        penalty: sum(len(text) for x in tables for text in search(x, prompts, 9, 4, penalty))
        for penalty in (0.0, 1.0)
    }
    assert lengths[1.0] > lengths[0.0]


# === One beam is greedy ===


def generated(step, states, prompts, max_new_tokens, **options):
    return generate(step, states, prompts, max_new_tokens, 0.0, 0, 1.0, 0, **options).to_list()


@given(seed=st.integers(0, 10**6), size=st.integers(2, 7), max_new_tokens=st.integers(0, 9))
def test_one_beam_is_greedy(seed, size, max_new_tokens):
    table = make_table(seed, size)
    prompts = tf.ragged.constant([[0], [2, 1, 3], [1, 1]], tf.int32) % size
    found = search(table, prompts, max_new_tokens, 1, 0.6).to_list()
    for prompt, text in zip(prompts.to_list(), found, strict=True):
        expected = reference.greedy(chances_of(table), prompt, max_new_tokens, END)
        assert text == without_end(prompt, expected)


def test_one_beam_is_greedy_where_sums_of_log_probabilities_are_equal():
    # 2 is the likelier one, by the smallest step of float32: too little for a sum of log P.
    logits = tf.constant([[-9.0, -9.0, np.nextafter(np.float32(1e-3), 1), 1e-3, 0.0]])
    logits = tf.reverse(logits, [1])  # at 2 the larger one again, after its rival

    def step(tokens, states, place):
        return tf.repeat(logits, tf.shape(tokens)[0], 0), states

    prompts = tf.ragged.constant([[0]])
    greedy = generated(step, [], prompts, 5, end=4)
    assert greedy == [[0, 2, 2, 2, 2, 2]]
    assert beam_search(step, [], prompts, 5, 1, 0.0, end=4).to_list() == greedy


@pytest.mark.slow
def test_one_beam_is_greedy_with_a_real_model():
    model = LSTMLanguageModel(29, 7, [mixture_block(5, 11, 2)])
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    prompts = tf.ragged.constant([[2, 5, 7], [2], [2, 11, 13, 17, 19], [6, 6]], tf.int32)
    states = model.initial_states(4, tokens_fed(prompts, 13))
    options = {"end": 3, "never": [0, 1]}
    greedy = generated(model.step, states, prompts, 13, **options)
    found = beam_search(model.step, states, prompts, 13, 1, 0.6, **options).to_list()
    assert found == greedy
    assert len({len(text) for text in greedy}) > 1
    # Rows do not see each other, and more beams find likelier texts.
    several = beam_search(model.step, states, prompts, 13, 5, 0.0, **options).to_list()
    for i in range(4):
        one = [x[i : i + 1] for x in tf.nest.flatten(states)]
        one = tf.nest.pack_sequence_as(states, one)
        alone = beam_search(model.step, one, prompts[i : i + 1], 13, 5, 0.0, **options)
        assert alone.to_list() == several[i : i + 1]
    assert several != greedy


# === Edges ===


def test_nothing_new_and_no_prompts():
    table = make_table(3, 5)
    prompts = [[0, 1, 2], [4]]
    assert search(table, tf.ragged.constant(prompts, tf.int32), 0, 3, 0.6).to_list() == prompts
    none = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
    assert search(table, none, 5, 3, 0.6).to_list() == []


def test_in_python_as_in_a_graph():
    table, prompts = make_table(11, 6), tf.ragged.constant([[2, 3], [4], [0, 1, 1, 5]], tf.int32)
    expected = search(table, prompts, 7, 4, 0.6).to_list()
    # Known shapes, and Python numbers.
    assert (
        beam_search(table_step(table), start(3), prompts, 7, 4, 0.6, end=END).to_list() == expected
    )
    known = tf.function(
        lambda: beam_search(table_step(table), start(3), prompts, 7, 4, 0.6, end=END)
    )
    assert known().to_list() == expected


@given(seed=st.integers(0, 10**6), num_beams=st.integers(1, 5))
def test_forbidden_tokens_have_no_probability(seed, num_beams):
    table = make_table(seed, 6)
    never = [0, 3]
    prompts = tf.ragged.constant([[2], [3, 0]], tf.int32)
    step = table_step(tf.constant(table))
    found = beam_search(step, start(2), prompts, 3, num_beams, 0.6, end=END, never=never)
    table[:, never] = -np.inf
    for prompt, text in zip(prompts.to_list(), found.to_list(), strict=True):
        new = reference.beam_search(chances_of(table), prompt, 3, num_beams, 0.6, END)
        assert text == without_end(prompt, new)


def test_more_beams_than_texts():
    # Only 2 and the end may come: two new tokens make 3 texts, for 50 beams.
    table, prompts = make_table(5, 4), tf.ragged.constant([[2]], tf.int32)
    step = table_step(tf.constant(table))
    table[:, [0, 3]] = -np.inf
    best = reference.beam_search(chances_of(table), [2], 2, 50, 0.0, END)
    found = beam_search(step, start(1), prompts, 2, 50, 0.0, end=END, never=[0, 3])
    assert found.to_list() == [without_end([2], best)]


# === When it stops ===


def steps_taken(chances, num_beams, length_penalty, max_new_tokens=50, prompts=((0,),)):
    """How often the model is asked, where each token's chances do not depend on the text."""
    places = []

    def step(tokens, states, place):
        places.append(int(place))
        return tf.repeat(tf.math.log([chances]), tf.shape(tokens)[0], 0), states

    prompts = tf.ragged.constant(list(map(list, prompts)), tf.int32)
    beam_search(step, [], prompts, max_new_tokens, num_beams, length_penalty, end=END)
    assert places == list(range(len(places)))
    return len(places)


def test_a_search_stops_when_no_beam_can_win():
    # The end at once: log 0.9. The others have log 0.06 at most, and never more.
    assert steps_taken([0.06, 0.9, 0.04], 3, length_penalty=0.0) == 1
    # With a penalty a long text may still score better: log(0.06) / lp(50) > log 0.9 for
    # lp = (55 / 6)^2 = 84, but not with (55 / 6)^1 = 9.2, as 2.81 / 9.2 > 0.105.
    assert steps_taken([0.06, 0.9, 0.04], 3, length_penalty=1.0) == 1
    assert steps_taken([0.06, 0.9, 0.04], 3, length_penalty=2.0) > 1
    # Not before the longest prompt is read, and no longer.
    assert steps_taken([0.06, 0.9, 0.04], 3, 0.0, prompts=[(0,), (0, 2, 2, 0)]) == 4


def test_a_search_stops_when_as_many_texts_are_finished_as_there_are_beams():
    # Two beams: after each step the likeliest continuation of the likelier one is its end, so
    # that the second step finishes the second text. 2.2 * 50 steps would be needed to be sure.
    assert steps_taken([0.3, 0.4, 0.3], 2, length_penalty=3.0) == 2
