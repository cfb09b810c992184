"""Text from Transformers: with a cache as without, in Python as in a SavedModel elsewhere."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import export_saved_model, serving_mode
from moe_zoo.layers import MoE
from moe_zoo.models import (
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
    beam_search,
    classifier_endpoints,
    generate,
    language_model_endpoints,
    seq2seq_endpoints,
)
from moe_zoo.models.decoding.generation import tokens_fed
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import SwitchRouter
from reference import generation as reference

D, E, F, CLASSES = 12, 3, 11, 5
END, NEVER = 2, [0, 1]
PROMPTS = [[2, 5, 7], [2], [2, 11, 13, 17, 19], [6, 6]]
SOURCES = [[5, 7, 3, 2], [2, 0, 0, 0], [11, 4, 2, 0]]  # filled up with 0
TEXTS = ["def f(x):\n", "", "class A: return x"]
OPTIONS = [(4, 0.0, 0, 1.0, 0, 1, 0.0), (4, 1.5, 20, 0.9, 3, 1, 0.0), (4, 0.0, 0, 1.0, 0, 3, 0.6)]


def make(kind, size, *arguments, num_layers=1):
    """A model that is sure of little, whose mixture drops tokens unless it is served."""
    keras.utils.set_random_seed(5)
    router = SwitchRouter(eval_capacity_factor=0.3, min_capacity=1)
    moe = MoE(router, FeedForwardExperts(E, F))
    attention = Attention(num_heads=3, head_dim=4)
    model = kind(size, *arguments, D, num_layers, attention, FeedForward(F), moe, num_layers)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(size=weight.shape) / np.sqrt(weight.shape[-2]) * 1.3)
    model.embedding.embeddings.assign(rng.normal(size=(size, D)) * 1.5)
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
for name, endpoint, arguments in json.load(sys.stdin):
    answer = getattr(served, endpoint)(*(tf.constant(x) for x in arguments))
    parts = answer if isinstance(answer, dict) else {"": answer}
    answers.update({name + part: np.asarray(x) for part, x in parts.items()})
assert "moe_zoo" not in sys.modules
np.savez(results, **answers)
"""


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_vocabulary(["def f(x):\n    return x\n\nclass A:\n    pass\n" * 5], 270))


def answers_elsewhere(model, endpoints, tokenizer, calls, tmp_path):
    """What a moved SavedModel answers, and what the same functions do here, by name."""
    export_saved_model(model, tmp_path / "new", endpoints, track=[tokenizer])
    folder, path = (tmp_path / "new").rename(tmp_path / "moved"), tmp_path / "answers.npz"
    subprocess.run(
        [sys.executable, "-P", "-c", CLIENT, str(folder), str(path)],
        input=json.dumps(calls),
        text=True,
        check=True,
    )
    here = {}
    with serving_mode(model):
        for name, endpoint, arguments in calls:
            answer = endpoints[endpoint][0](*(tf.constant(x) for x in arguments))
            parts = answer if isinstance(answer, dict) else {"": answer}
            here.update({name + part: np.asarray(x) for part, x in parts.items()})
    return dict(np.load(path, allow_pickle=True)), here


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f":  # in Python each operation runs by itself
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.slow
def test_saved_language_model(tokenizer, tmp_path):
    model = make(TransformerLanguageModel, tokenizer.vocabulary_size)
    calls = [(f"text{i}", "generate", [TEXTS, *OPTIONS[i]]) for i in range(3)]
    calls += [("one", "generate", [TEXTS[:1], *OPTIONS[2]]), ("scores", "serve_text", [TEXTS])]
    calls += [(f"logits{n}", "serve", [[[7] * n] * 3]) for n in (1, 5)]
    endpoints = language_model_endpoints(model, tokenizer)
    found, expected = answers_elsewhere(model, endpoints, tokenizer, calls, tmp_path)
    assert_equal(found, expected)
    texts = [found[f"text{i}"].tolist() for i in range(3)]
    assert texts[0] != texts[1] != texts[2] != texts[0]
    assert found["one"][0] == texts[2][0]
    for text, prompt in zip(texts[0], TEXTS, strict=True):
        assert text.decode().startswith(prompt) and len(text.decode()) > len(prompt)


@pytest.mark.slow
def test_saved_encoder_and_decoder(tokenizer, tmp_path):
    model = make(TransformerSeq2Seq, tokenizer.vocabulary_size)
    calls = [(f"ids{i}", "generate", [SOURCES, *OPTIONS[i]]) for i in range(3)]
    calls += [("nothing", "generate", [SOURCES, 0, *OPTIONS[0][1:]])]
    calls += [
        ("greedy", "translate", [TEXTS, 4, 1, 0.0]),
        ("beams", "translate", [TEXTS, 4, 3, 0.6]),
    ]
    calls += [("logits", "serve", [SOURCES, [[2, 7]] * 3])]
    endpoints = seq2seq_endpoints(model, tokenizer)
    found, expected = answers_elsewhere(model, endpoints, tokenizer, calls, tmp_path)
    assert_equal(found, expected)
    assert found["nothing"].shape == (3, 0)
    assert len({found[f"ids{i}"].tobytes() for i in range(3)}) == 3
    # A text is its ids with the end token, and comes out as ids without begin and end.
    ids = [[*row, tokenizer.end_id] for row in tokenizer.encode(TEXTS).to_list()]
    with serving_mode(model):
        ids = tf.ragged.constant(ids).to_tensor()
        new = endpoints["generate"][0](ids, *OPTIONS[2])
    assert tokenizer.decode(new).numpy().tolist() == found["beams"].tolist()


@pytest.mark.slow
def test_saved_classifier(tokenizer, tmp_path):
    model = make(TransformerClassifier, tokenizer.vocabulary_size, CLASSES)
    labels = ["a", "b", "c", "d", "e"]
    endpoints = classifier_endpoints(model, tokenizer, labels)
    calls = [("logits", "serve", [[[7, 9, 0]]]), ("text", "serve_text", [TEXTS])]
    found, expected = answers_elsewhere(model, endpoints, tokenizer, calls, tmp_path)
    assert_equal(found, expected)
    chosen = np.argmax(found["textprobabilities"], 1)
    assert found["textlabel"].tolist() == [labels[i].encode() for i in chosen]
    np.testing.assert_allclose(found["textprobabilities"].sum(1), 1, rtol=1e-5)
    # Without names a label is an index; a limit cuts what lies behind it.
    with serving_mode(model):
        cut = classifier_endpoints(model, tokenizer, max_tokens=3)["serve_text"][0](TEXTS)
        ids = tokenizer.encode(TEXTS[2:]).to_tensor()[:, :3]
        logits = endpoints["serve"][0](ids)
    np.testing.assert_allclose(cut["probabilities"][2:], tf.nn.softmax(logits), rtol=1e-4)
    assert cut["label"][2] == np.argmax(logits)


# === Errors ===


def test_a_vocabulary_of_another_size_is_refused(tokenizer, translator):
    message = "Expected a vocabulary of 23 pieces, as the model has. Received: tokenizer.vocab"
    with pytest.raises(ValueError, match=message):
        seq2seq_endpoints(translator, tokenizer)
    model = make(TransformerClassifier, 23, CLASSES)
    with pytest.raises(ValueError, match=message):
        classifier_endpoints(model, tokenizer)


def test_labels_of_another_number_are_refused(tokenizer):
    model = make(TransformerClassifier, tokenizer.vocabulary_size, CLASSES)
    message = r"Expected 5 labels, one for each class. Received: labels=\['a', 'b'\]. Give them in"
    with pytest.raises(ValueError, match=message):
        classifier_endpoints(model, tokenizer, ["a", "b"])
