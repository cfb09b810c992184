"""Generation: against loops over full forward passes, and what may be drawn how often."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from moe_zoo.models import LSTMLanguageModel, generate, mixture_block
from moe_zoo.models.decoding.generation import nucleus, sample, tokens_fed
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from reference import generation as reference

V, D, E, F, K = 29, 7, 5, 11, 2
END, NEVER = 3, [0, 1]
PROMPTS = [[2, 5, 7], [2], [2, 11, 13, 17, 19, 23, 4], [6, 6]]


@pytest.fixture(scope="module")
def model():
    model = LSTMLanguageModel(V, D, [mixture_block(E, F, K)])
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    model.logits.bias.assign_add(2.5 * tf.one_hot(END, V))  # so that some texts end early
    return model


SCALARS = [  # max_new_tokens, temperature, top_k, top_p, seed
    tf.TensorSpec([], x) for x in (tf.int32, tf.float32, tf.int32, tf.float32, tf.int32)
]


def continued(model, prompts, max_new_tokens, *arguments, **options):
    """`generate` with the states of a model."""
    states = model.initial_states(prompts.nrows(tf.int32), tokens_fed(prompts, max_new_tokens))
    return generate(model.step, states, prompts, max_new_tokens, *arguments, **options)


@pytest.fixture(scope="module")
def graph(model):
    """`generate` as a SavedModel holds it."""
    prompts = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[prompts, *SCALARS])
    def graph(*arguments):
        return continued(model, *arguments, end=END, never=NEVER)

    return graph


def run(graph, prompts, max_new_tokens=13, temperature=0.0, top_k=0, top_p=1.0, seed=0):
    prompts = tf.ragged.constant(prompts, tf.int32)
    return graph(prompts, max_new_tokens, temperature, top_k, top_p, seed).to_list()


def run_in_python(
    model, prompts, max_new_tokens, temperature=0.0, top_k=0, top_p=1.0, seed=0, **options
):
    prompts = tf.ragged.constant(prompts, tf.int32)
    arguments = (max_new_tokens, temperature, top_k, top_p, seed)
    return continued(model, prompts, *arguments, **options).to_list()


def slow_greedy(model, prompt, max_new_tokens):
    """The likeliest token again and again, by a full forward pass over the text each time."""
    text = list(prompt)
    for _ in range(max_new_tokens):
        logits = model(np.array([text], "int32"))[0, -1].numpy()
        logits[NEVER] = -np.inf
        token = int(np.argmax(logits))
        if token == END:
            break
        text.append(token)
    return text


# === Greedy ===


@pytest.mark.slow
def test_greedy_is_a_loop_over_full_passes(model, graph):
    # Prompts of different lengths side by side; some end early, some do not.
    expected = [slow_greedy(model, prompt, 13) for prompt in PROMPTS]
    assert run(graph, PROMPTS) == expected
    lengths = {len(text) - len(prompt) for text, prompt in zip(expected, PROMPTS, strict=True)}
    assert len(lengths) > 1 and max(lengths) == 13, lengths  # both ways to end occur


def test_a_batch_is_its_prompts_alone(graph):
    assert run(graph, PROMPTS) == [run(graph, [prompt])[0] for prompt in PROMPTS]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_in_a_graph_as_in_python(model, graph, temperature):
    expected = run_in_python(model, PROMPTS, 5, temperature, 5, 0.9, 7, end=END, never=NEVER)
    assert run(graph, PROMPTS, 5, temperature, 5, 0.9, 7) == expected


def test_one_candidate_is_greedy_at_any_temperature(graph):
    greedy = run(graph, PROMPTS)
    assert run(graph, PROMPTS, temperature=5.0, top_k=1) == greedy
    assert run(graph, PROMPTS, temperature=0.0, top_k=7) == greedy
    assert run(graph, PROMPTS, temperature=5.0, top_p=0.0) == greedy


def test_a_tiny_temperature_is_greedy(graph):
    # 1e-38 is below what float32 divides a logit by without an infinity.
    assert run(graph, PROMPTS, temperature=1e-38) == run(graph, PROMPTS)


def test_nothing_new(graph):
    assert run(graph, PROMPTS, max_new_tokens=0) == PROMPTS
    assert run(graph, PROMPTS, max_new_tokens=0, temperature=1.0) == PROMPTS


def test_no_prompts(graph):
    prompts = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))
    assert graph(prompts, 5, 0.0, 0, 1.0, 0).to_list() == []


def test_more_candidates_than_tokens(graph):
    every = run(graph, PROMPTS, temperature=0.9, top_k=0)
    assert run(graph, PROMPTS, temperature=0.9, top_k=V + 5) == every


# === The end, and what must not come: a model that counts, so that all is known beforehand ===


class Counting:
    """After token t comes t + 1, and everything else is as unlikely as everything else."""

    vocabulary_size = 11

    def initial_states(self, batch_size, length):
        return []

    def step(self, tokens, states, place):
        return 9.0 * tf.one_hot((tokens + 1) % self.vocabulary_size, self.vocabulary_size), states


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["python", "graph"])
def test_a_text_ends_at_the_end_token(wrap):
    def texts(prompts, count):
        call = wrap(lambda: continued(Counting(), prompts, count, 0.0, 0, 1.0, 0, end=7))
        return call().to_list()

    prompts = tf.ragged.constant([[4], [9, 5], [8]], tf.int32)
    # 8 counts to 10, then 0, 1, 2; the others end before 7 is written.
    assert texts(prompts, 6) == [[4, 5, 6], [9, 5, 6], [8, 9, 10, 0, 1, 2, 3]]
    assert texts(prompts[:2], 6) == [[4, 5, 6], [9, 5, 6]]  # all end before their time
    # An end token within a prompt ends nothing, and one that is drawn ends only its own row.
    inside = tf.ragged.constant([[7, 4], [7]], tf.int32)
    assert texts(inside, 4) == [[7, 4, 5, 6], [7, 8, 9, 10, 0]]
    at_once = tf.ragged.constant([[6], [6, 6]], tf.int32)
    assert texts(at_once, 4) == [[6], [6, 6]]


def test_forbidden_tokens_are_passed_over():
    # After 4 would come 5; of the others, all alike, the first that is allowed is 2.
    result = run_in_python(Counting(), [[4]], 1, end=10, never=[0, 1, 5])
    assert result == [[4, 2]]


def test_forbidden_tokens_are_never_drawn(graph):
    texts = run(graph, [[2]] * 200, 11, 50.0, seed=3)
    drawn = {token for text in texts for token in text[1:]}
    # Nearly uniform over 27 tokens, some 1,800 draws: each of the 26 that end nothing comes up.
    assert drawn == set(range(V)) - set(NEVER) - {END}


# === Sampling ===


def chi_square(drawn, probabilities):
    """sum (observed - expected)^2 / expected, and a bound that chance goes over once in 10^8.

    With d degrees of freedom the mean is d and the variance 2 d; a chi-square is heavier in its
    upper tail than a normal, for which the bound of Laurent and Massart (2000) stands:
    P(X > d + 2 sqrt(d x) + 2 x) <= exp(-x), with x = 18.4.
    """
    expected = probabilities * drawn.size
    assert expected.min() > 20  # enough for the chi-square approximation
    observed = np.bincount(drawn, minlength=len(probabilities))
    degrees, x = len(probabilities) - 1, 18.4
    bound = degrees + 2 * np.sqrt(degrees * x) + 2 * x
    return np.sum((observed - expected) ** 2 / expected), bound


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.8), (7, 0.9)])
def test_draws_follow_the_definition(temperature, top_k, top_p):
    logits = np.random.default_rng(5).normal(size=11).astype("float32")
    rows = tf.constant(np.tile(logits, (20_000, 1)))
    drawn = sample(rows, temperature, top_k, top_p, [1, 2]).numpy()
    chances = reference.draw_chances(logits, temperature, top_k, top_p)
    kept = np.flatnonzero(chances)
    assert set(drawn) == set(kept)
    assert (len(kept) < 11) == (top_k > 0 or top_p < 1)
    place = np.searchsorted(kept, drawn)
    statistic, bound = chi_square(place, chances[kept])
    assert statistic < bound
    # The check can fail: at another temperature the same draws are far out.
    wrong = np.where(chances > 0, np.exp(logits.astype("float64") / (1.5 * temperature)), 0)[kept]
    statistic, bound = chi_square(place, wrong / wrong.sum())
    assert statistic > bound


@given(
    logits=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=13),
    top_p=st.floats(0, 1, width=32),
)
def test_the_nucleus_is_the_smallest_set_that_reaches_its_probability(logits, top_p):
    logits = np.sort(np.array([logits], "float32"))[:, ::-1]
    chances = np.exp(logits[0].astype("float64"))
    sums = np.cumsum(chances / chances.sum())
    assume(np.abs(sums[:-1] - top_p).min(initial=1.0) > 1e-5)  # else float32 may decide
    cut = nucleus(tf.constant(logits.copy()), top_p).numpy()[0]
    kept = np.isfinite(cut)
    np.testing.assert_array_equal(kept, reference.draw_chances(logits[0], top_p=top_p) > 0)
    np.testing.assert_array_equal(cut[kept], logits[0][kept])
    count = kept.sum()
    assert kept[:count].all() and count >= 1
    assert sums[count - 1] >= top_p - 1e-5
    assert count == 1 or sums[count - 2] < top_p


def test_a_nucleus_of_all():
    # The probabilities of many small ones add up to more than 1 in float32: none is left out.
    logits = tf.constant([[0.0] + [-17.0] * 100_000])
    assert np.isfinite(nucleus(logits, 1.0)).all()


def test_the_seed_decides(graph):
    first = run(graph, PROMPTS, temperature=1.5, seed=11)
    assert run(graph, PROMPTS, temperature=1.5, seed=11) == first
    assert run(graph, PROMPTS, temperature=1.5, seed=12) != first


def test_rows_and_places_have_draws_of_their_own():
    class Uniform(Counting):
        def step(self, tokens, states, place):
            return tf.zeros([tf.shape(tokens)[0], self.vocabulary_size]), states

    # Uniform over the 10 tokens that end nothing; 7 equal prompts, 19 draws each.
    texts = run_in_python(Uniform(), [[2]] * 7, 19, 1.0, end=10, never=[10])
    assert len({tuple(text) for text in texts}) == 7
    assert all(len(set(text[1:])) > 3 for text in texts)


# === Text in, text out ===


@pytest.fixture(scope="module")
def tokenizer():
    text = "def f(x):\n    return x\n\nclass A:\n    pass\n"
    return Tokenizer(train_vocabulary([text * 5], 270))


@pytest.fixture(scope="module")
def writer(tokenizer):
    keras.utils.set_random_seed(3)
    return LSTMLanguageModel(None, D, [mixture_block(E, F, K)], tokenizer=tokenizer)


def test_texts_begin_with_their_prompts(writer):
    prompts = ["def f", "", "é\n"]
    texts = writer.generate(prompts, max_new_tokens=5, temperature=1.0, top_k=0, top_p=0.9)
    for text, prompt in zip(texts, prompts, strict=True):
        assert text.startswith(prompt)
        assert len(text) > len(prompt)


def test_the_empty_prompt_starts_a_document(writer, tokenizer):
    text = writer.generate("", max_new_tokens=7, temperature=0.0)
    never = [tokenizer.pad_id, tokenizer.unknown_id]
    start = [[tokenizer.begin_id]]
    expected = run_in_python(writer, start, 7, end=tokenizer.end_id, never=never)
    assert text.encode() == tokenizer.decode(tf.ragged.constant(expected, tf.int32))[0]


def test_log_probability_is_a_sum_over_the_texts_tokens(writer, tokenizer):
    texts = ["def f(x):\n", "", "pass", "class A: return x"]
    result = writer.score(texts)
    for i, ids in enumerate(tokenizer.encode(texts).to_list()):
        total = 0.0
        for place, token in enumerate(ids):
            prefix = np.array([[tokenizer.begin_id, *ids[:place]]], "int32")
            logits = writer(prefix)[0, -1].numpy().astype("float64")
            total += logits[token] - np.log(np.sum(np.exp(logits)))
        assert result["tokens"][i] == len(ids)
        np.testing.assert_allclose(result["log_probability"][i], total, rtol=1e-5)
        perplexity = np.exp(-total / max(len(ids), 1))
        np.testing.assert_allclose(result["perplexity"][i], perplexity, rtol=1e-5)


@pytest.mark.parametrize("texts", [[""], ["", ""]])
def test_log_probability_of_nothing(writer, texts):
    result = writer.score(texts)
    np.testing.assert_array_equal(result["log_probability"], np.zeros(len(texts)))
    np.testing.assert_array_equal(result["perplexity"], np.ones(len(texts)))
    np.testing.assert_array_equal(result["tokens"], np.zeros(len(texts)))


def test_a_vocabulary_of_another_size_is_refused(tokenizer):
    model = LSTMLanguageModel(tokenizer.vocabulary_size + 1, D, [])
    message = (
        f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
        f"tokenizer.vocabulary_size={tokenizer.vocabulary_size}. Use the one"
    )
    with pytest.raises(ValueError, match=message):
        model.tokenizer = tokenizer
