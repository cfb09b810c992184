"""Text from Transformers: with a cache as without, in Python as in a SavedModel elsewhere."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import serving_mode
from moe_zoo.layers import MoE
from moe_zoo.models import (
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
    beam_search,
    generate,
)
from moe_zoo.models.decoding.generation import tokens_fed
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import SwitchRouter
from reference import generation as reference

D, E, F, CLASSES = 12, 3, 11, 5
END, NEVER = 2, [0, 1]
PROMPTS = [[2, 5, 7], [2], [2, 11, 13, 17, 19], [6, 6]]
PADDED = [[2, 5, 7], [2, 0, 9], [0, 2, 6]]
SOURCES = [[5, 7, 3, 2], [2, 0, 0, 0], [11, 4, 2, 0]]  # filled up with 0
TEXTS = ["def f(x):\n", "", "class A: return x"]
OPTIONS = [
    {"max_new_tokens": 4, "temperature": 0.0},
    {"max_new_tokens": 4, "temperature": 1.5, "top_k": 20, "top_p": 0.9, "seed": 3},
    {"max_new_tokens": 4, "num_beams": 3, "length_penalty": 0.6},
]


def make(kind, size, *arguments, num_layers=1, **options):
    """A model that is sure of little, whose mixture drops tokens unless it is served."""
    keras.utils.set_random_seed(5)
    router = SwitchRouter(eval_capacity_factor=0.3, min_capacity=1)
    moe = MoE(router, FeedForwardExperts(E, F))
    attention = Attention(num_heads=3, head_dim=4)
    model = kind(
        size, *arguments, D, num_layers, attention, FeedForward(F), moe, num_layers, **options
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(size=weight.shape) / np.sqrt(weight.shape[-2]) * 1.3)
    model.embedding.embeddings.assign(rng.normal(size=(model.vocabulary_size, D)) * 1.5)
    return model


@pytest.fixture(scope="module")
def language_model():
    return make(TransformerLanguageModel, 23, num_layers=2)


@pytest.fixture(scope="module")
def translator():
    return make(TransformerSeq2Seq, 23, num_layers=2)


def chances_after(logits_of):
    """What `reference_generation` needs, by a full pass over the whole text for each token."""

    def chances(text):
        logits = logits_of(np.array([text], "int32"))[0, -1].numpy().astype("float64")
        logits[NEVER] = -np.inf
        return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    return chances


def without_end(prompt, new):
    return [*prompt, *new[: new.index(END) if END in new else None]]


# === With a cache as without ===


def test_language_model(language_model):
    model = language_model
    prompts = tf.ragged.constant(PROMPTS, tf.int32)
    with serving_mode(model):
        chances = chances_after(tf.function(model, reduce_retracing=True))
        states = model.initial_states(len(PROMPTS), tokens_fed(prompts, 9))
        options = {"end": END, "never": NEVER}
        greedy = generate(model.step, states, prompts, 9, 0.0, 0, 1.0, 0, **options).to_list()
        found = beam_search(model.step, states, prompts, 9, 3, 0.6, **options).to_list()
        one = beam_search(model.step, states, prompts, 9, 1, 0.6, **options).to_list()
        assert greedy == [without_end(x, reference.greedy(chances, x, 9, END)) for x in PROMPTS]
        best = [reference.beam_search(chances, x, 9, 3, 0.6, END) for x in PROMPTS]
    assert one == greedy
    assert found == [without_end(x, new) for x, new in zip(PROMPTS, best, strict=True)]
    assert found != greedy


@pytest.mark.slow
def test_encoder_and_decoder(translator):
    model, source = translator, tf.constant(SOURCES)
    prompts = tf.RaggedTensor.from_tensor(tf.fill([len(SOURCES), 1], END))
    forward = tf.function(lambda x, y: model({"source": x, "target": y}), reduce_retracing=True)
    with serving_mode(model):
        states = model.initial_states(source, tokens_fed(prompts, 7))
        options = {"end": END, "never": NEVER}
        greedy = generate(model.step, states, prompts, 7, 0.0, 0, 1.0, 0, **options).to_list()
        found = beam_search(model.step, states, prompts, 7, 3, 0.6, **options).to_list()
        for i, row in enumerate(SOURCES):
            alone = np.array([row[: row.index(2) + 1]])  # without padding
            chances = chances_after(lambda text, alone=alone: forward(alone, text))
            assert greedy[i] == [END, *without_end([], reference.greedy(chances, [END], 7, END))]
            new = reference.beam_search(chances, [END], 7, 3, 0.6, END)
            assert found[i] == [END, *without_end([], new)]
    assert found != greedy


# === In a SavedModel, in a process without moe_zoo ===


CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text

folder, results = sys.argv[1:]
served = tf.saved_model.load(folder)
answers = {}
for name, endpoint, argument, options in json.load(sys.stdin):
    answer = getattr(served, endpoint)(tf.constant(argument), **options)
    parts = answer if isinstance(answer, dict) else {"": answer}
    answers.update({name + part: np.asarray(x) for part, x in parts.items()})
assert "moe_zoo" not in sys.modules
np.savez(results, **answers)
"""


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_vocabulary(["def f(x):\n    return x\n\nclass A:\n    pass\n" * 5], 270))


def answers_elsewhere(model, calls, tmp_path):
    """What a moved SavedModel answers in a process that knows TensorFlow alone, by name."""
    model.export(tmp_path / "new")
    folder, path = (tmp_path / "new").rename(tmp_path / "moved"), tmp_path / "answers.npz"
    subprocess.run(
        [sys.executable, "-P", "-c", CLIENT, str(folder), str(path)],
        input=json.dumps(calls),
        text=True,
        check=True,
    )
    return dict(np.load(path, allow_pickle=True))


def texts_of(strings):
    return [text.decode("utf-8", "replace") for text in strings]


@pytest.mark.slow
def test_saved_language_model(tokenizer, tmp_path):
    model = make(TransformerLanguageModel, None, tokenizer=tokenizer)
    calls = [(f"text{i}", "generate", TEXTS, options) for i, options in enumerate(OPTIONS)]
    calls += [(f"ids{i}", "generate_ids", PADDED, options) for i, options in enumerate(OPTIONS)]
    calls += [("one", "generate", TEXTS[:1], OPTIONS[2]), ("scores_", "score", TEXTS, {})]
    calls += [(f"logits{n}", "serve", [[7] * n] * 3, {}) for n in (1, 5)]
    found = answers_elsewhere(model, calls, tmp_path)
    texts = [texts_of(found[f"text{i}"]) for i in range(3)]
    for i, options in enumerate(OPTIONS):  # the model's verbs say the same
        assert texts[i] == model.generate(TEXTS, **options)
        written = model.generate(PADDED, **options)
        np.testing.assert_array_equal(found[f"ids{i}"], written.to_tensor())
    for name, values in model.score(TEXTS).items():
        np.testing.assert_allclose(found[f"scores_{name}"], values, rtol=1e-5, atol=1e-5)
    assert texts[0] != texts[1] != texts[2] != texts[0]
    assert texts_of(found["one"]) == texts[2][:1]
    for text, prompt in zip(texts[0], TEXTS, strict=True):
        assert text.startswith(prompt) and len(text) > len(prompt)
    with serving_mode(model):
        for n in (1, 5):
            logits = tf.function(model)(tf.constant([[7] * n] * 3))
            np.testing.assert_allclose(found[f"logits{n}"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_saved_encoder_and_decoder(tokenizer, tmp_path):
    model = make(TransformerSeq2Seq, None, tokenizer=tokenizer)
    calls = [(f"ids{i}", "translate_ids", SOURCES, options) for i, options in enumerate(OPTIONS)]
    calls += [(f"text{i}", "translate", TEXTS, options) for i, options in enumerate(OPTIONS)]
    calls += [("nothing", "translate_ids", SOURCES, {"max_new_tokens": 0})]
    calls += [("logits", "serve", SOURCES, {"target": [[2, 7]] * 3})]
    found = answers_elsewhere(model, calls, tmp_path)
    for i, options in enumerate(OPTIONS):
        assert texts_of(found[f"text{i}"]) == model.translate(TEXTS, **options)
        written = model.translate(SOURCES, **options)
        np.testing.assert_array_equal(found[f"ids{i}"], written.to_tensor())
    assert found["nothing"].shape == (3, 0)
    assert len({found[f"ids{i}"].tobytes() for i in range(3)}) == 3
    # A text is its ids with the end token, and comes out as ids without begin and end.
    ids = [[*row, tokenizer.end_id] for row in tokenizer.encode(TEXTS).to_list()]
    written = tokenizer.decode(model.translate(ids, **OPTIONS[2]))
    assert texts_of(written.numpy()) == texts_of(found["text2"])
    with serving_mode(model):
        inputs = {"source": tf.constant(SOURCES), "target": tf.constant([[2, 7]] * 3)}
        logits = tf.function(model)(inputs)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_saved_classifier(tokenizer, tmp_path):
    labels = ["a", "b", "c", "d", "e"]
    model = make(TransformerClassifier, None, CLASSES, tokenizer=tokenizer, labels=labels)
    calls = [("logits", "serve", [[7, 9, 0]], {}), ("text_", "classify", TEXTS, {})]
    found = answers_elsewhere(model, calls, tmp_path)
    classified = model.classify(TEXTS)
    assert texts_of(found["text_label"]) == [x.label for x in classified]
    for name in ("score", "probabilities"):
        expected = [getattr(x, name) for x in classified]
        np.testing.assert_allclose(found[f"text_{name}"], expected, rtol=1e-4, atol=1e-6)
    with serving_mode(model):
        logits = tf.function(model)(tf.constant([[7, 9, 0]]))
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-5)


def test_classes_of_texts(tokenizer):
    labels = ["a", "b", "c", "d", "e"]
    model = make(TransformerClassifier, None, CLASSES, tokenizer=tokenizer, labels=labels)
    with serving_mode(model):
        ids = tokenizer.encode(TEXTS[2:]).to_tensor()[:, :3]
        chances = tf.nn.softmax(model(ids))[0].numpy()
    model.max_tokens = 3  # what lies behind is left out
    found = model.classify(TEXTS[2])
    assert found.label == labels[np.argmax(chances)] and found.score == max(found.probabilities)
    np.testing.assert_allclose(found.probabilities, chances, rtol=1e-4)
    model.labels = None  # then a label is an index
    ((label, *_),) = model.classify(ids.numpy().astype("int64"))
    assert label == np.argmax(chances)


# === Errors ===


def test_a_vocabulary_of_another_size_is_refused(tokenizer, translator):
    message = "Expected a vocabulary of 23 pieces, as the model has. Received: tokenizer.vocab"
    with pytest.raises(ValueError, match=message):
        translator.tokenizer = tokenizer
    model = make(TransformerClassifier, 23, CLASSES)
    with pytest.raises(ValueError, match=message):
        model.tokenizer = tokenizer


def test_labels_of_another_number_are_refused(tokenizer):
    message = r"Expected 5 labels, one for each class. Received: labels=\['a', 'b'\]. Give them in"
    with pytest.raises(ValueError, match=message):
        make(TransformerClassifier, None, CLASSES, tokenizer=tokenizer, labels=["a", "b"])
