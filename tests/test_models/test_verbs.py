"""What text models do by themselves: texts or ids in, the tokenizer along, in memory and served."""

import copy
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import load_served, serving_mode
from moe_zoo.layers import MoE
from moe_zoo.models import (
    LSTMLanguageModel,
    SentencepieceTokenizer,
    Tokenizer,
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
    generate,
    mixture_block,
)
from moe_zoo.models.decoding.generation import tokens_fed
from moe_zoo.models.tokenizers.vocabulary import SPECIAL_PIECES
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import NoisyTopKRouter, SwitchRouter
from sentencepiece_models import toy_model

TOKENIZER = Tokenizer([*SPECIAL_PIECES, *"abcdefgh"])
V, D, E, F = TOKENIZER.vocabulary_size, 5, 3, 7
TEXTS = ["ab", "", "hgfedc"]
IDS = [[2, 3, 4], [2], [2, 10, 9, 8, 7, 6, 5]]  # [BOS] and the letters, of which a is 3


def language_model(**options):
    """A model whose mixture drops nearly every token, unless it is served."""
    keras.utils.set_random_seed(1)
    router = NoisyTopKRouter(2, capacity_factor=0.2, eval_capacity_factor=0.2, min_capacity=1)
    options = {"tokenizer": TOKENIZER, "pad_id": 0, **options}
    return LSTMLanguageModel(None, D, [mixture_block(E, F, 2, router=router)], **options)


def transformer(kind, *arguments, **options):
    keras.utils.set_random_seed(1)
    moe = MoE(SwitchRouter(), FeedForwardExperts(E, F))
    attention = Attention(num_heads=1)
    return kind(None, *arguments, 4, 1, attention, FeedForward(F), moe, 1, **options)


@pytest.fixture(scope="module")
def model():
    return language_model()


@pytest.fixture(scope="module")
def greedy(model):
    """What follows each of `IDS`, by the pure function."""
    prompts = tf.ragged.constant(IDS)
    with serving_mode(model):
        states = model.initial_states(len(IDS), tokens_fed(prompts, 4))
        options = {"end": TOKENIZER.end_id, "never": [0, 1]}
        return generate(model.step, states, prompts, 4, 0.0, 0, 1.0, 0, **options).to_list()


# === Texts and ids ===


@pytest.mark.parametrize(
    "prompts",
    [
        TEXTS,
        tuple(TEXTS),
        [text.encode() for text in TEXTS],
        np.array(TEXTS),
        np.array(TEXTS, object),
        tf.constant(TEXTS),
    ],
    ids=["list", "tuple", "bytes", "array", "objects", "tensor"],
)
def test_texts_give_texts(model, greedy, prompts):
    found = model.generate(prompts, max_new_tokens=4, temperature=0)
    assert found == [x.decode() for x in TOKENIZER.decode(tf.ragged.constant(greedy)).numpy()]
    assert model.generate(TEXTS[0], max_new_tokens=4, temperature=0) == found[0]


@pytest.mark.parametrize(
    "prompts",
    [
        IDS,
        tf.ragged.constant(IDS, tf.int64),
        [np.array(row) for row in IDS],
    ],
    ids=["lists", "ragged", "arrays"],
)
def test_ids_give_ids(model, greedy, prompts):
    found = model.generate(prompts, max_new_tokens=4, temperature=0)
    assert isinstance(found, tf.RaggedTensor) and found.dtype == tf.int32
    assert found.to_list() == greedy


def test_padding_may_stand_anywhere(model, greedy):
    rows = np.array([[0, 2, 0, 3, 4, 0, 0], [2, 0, 0, 0, 0, 0, 0], IDS[2]], "int64")
    found = model.generate(rows, max_new_tokens=4, temperature=0).to_list()
    assert [row[7:] for row in found] == [
        row[len(prompt) :] for row, prompt in zip(greedy, IDS, strict=True)
    ]


def test_no_texts(model):
    assert model.generate(np.array([], str)) == []
    assert model.generate(tf.zeros([0, 3], tf.int32)).shape[0] == 0


@pytest.mark.slow  # traces five times
def test_a_model_that_has_changed_writes_other_text():
    model = language_model()
    before = model.generate(IDS, 6, temperature=0).to_list()
    assert model.generate(IDS, 6, temperature=0).to_list() == before
    model.set_weights([np.random.default_rng(0).normal(size=x.shape) for x in model.get_weights()])
    changed = model.generate(IDS, 6, temperature=0).to_list()
    assert changed != before
    model.blocks[1].layers[0].router.top_k = 1  # which a graph holds as a constant
    other = model.generate(IDS, 6, temperature=0).to_list()
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert other == again.generate(IDS, 6, temperature=0).to_list()


def test_translations_of_texts_and_of_ids():
    model = transformer(TransformerSeq2Seq, tokenizer=TOKENIZER)
    sources = [[*row[1:], TOKENIZER.end_id] for row in IDS]
    written = model.translate(sources, max_new_tokens=3, num_beams=2)
    texts = model.translate(TEXTS, max_new_tokens=3, num_beams=2)
    assert texts == [x.decode() for x in TOKENIZER.decode(written).numpy()]
    assert model.translate(TEXTS[2], max_new_tokens=3, num_beams=2) == texts[2]
    padded = tf.ragged.constant(sources, tf.int64).to_tensor(0)
    assert model.translate(padded, max_new_tokens=3, num_beams=2).to_list() == written.to_list()


# === The tokenizer travels with the model ===


def test_the_tokenizer_is_saved_with_the_model(model, tmp_path):
    for copied in (copy.deepcopy(model), type(model).from_config(model.get_config())):
        assert copied.tokenizer.fingerprint == TOKENIZER.fingerprint
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert again.generate(TEXTS, 5, seed=3) == model.generate(TEXTS, 5, seed=3)


def test_a_sentencepiece_model_is_saved_with_the_model(tmp_path):
    model = transformer(TransformerSeq2Seq, tokenizer=SentencepieceTokenizer(toy_model()))
    tokenizer = model.tokenizer
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.tokenizer.get_config() == tokenizer.get_config()
    texts = ["the cat <extra_id_0> on", "cats"]
    np.testing.assert_array_equal(
        again.tokenizer.encode(texts).to_tensor(), tokenizer.encode(texts).to_tensor()
    )


def test_labels_are_saved_with_the_model(tmp_path):
    options = {"tokenizer": TOKENIZER, "labels": ["x", "y"], "max_tokens": 3}
    model = transformer(TransformerClassifier, 2, **options)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.classify(TEXTS) == model.classify(TEXTS)
    assert again.labels == ["x", "y"] and again.max_tokens == 3


@pytest.mark.parametrize("kind", ["lstm", "classifier", "language_model", "seq2seq"])
def test_files_of_before_there_were_tokenizers(kind):
    makers = {
        "lstm": lambda: language_model(),
        "classifier": lambda: transformer(TransformerClassifier, 2, tokenizer=TOKENIZER),
        "language_model": lambda: transformer(TransformerLanguageModel, tokenizer=TOKENIZER),
        "seq2seq": lambda: transformer(TransformerSeq2Seq, tokenizer=TOKENIZER),
    }
    model = makers[kind]()
    config = keras.saving.serialize_keras_object(model)
    for name in ("tokenizer", "labels", "max_tokens"):
        config["config"].pop(name, None)
    again = keras.saving.deserialize_keras_object(config)
    again.set_weights(model.get_weights())
    assert again.tokenizer is None
    rows = tf.ragged.constant(IDS).to_tensor(0)
    inputs = {"source": rows, "target": rows} if kind == "seq2seq" else rows
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_checkpoints_hold_weights_alone(model, tmp_path):
    assert "tokenizer" not in model._trackable_children()
    path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    assert not [name for name, _ in tf.train.list_variables(path) if "tokenizer" in name]


# === Served ===


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model"
    model.export(folder)
    return load_served(folder)


def test_a_served_model_is_called_as_the_model(model, served):
    options = {"max_new_tokens": 4, "seed": 5}
    assert served.generate(TEXTS, **options) == model.generate(TEXTS, **options)
    assert served.generate("ab", **options) == model.generate("ab", **options)
    assert served.generate(**options, prompts="ab") == served.generate("ab", **options)
    assert served.generate(**options, prompts=b"ab") == model.generate(b"ab", **options)
    expected = model.generate(IDS, **options).to_list()
    rows = tf.ragged.constant([[2, 3, 4], [2, 5, 6]], tf.int64)
    np.testing.assert_array_equal(
        served.generate(rows, **options), model.generate(rows, **options).to_tensor()
    )
    padded = served.generate(IDS, **options).numpy().tolist()
    for row, prompt, whole in zip(padded, IDS, expected, strict=True):
        assert row[7 : 7 + len(whole) - len(prompt)] == whole[len(prompt) :]
    np.testing.assert_allclose(
        served.score("ab")["perplexity"], model.score("ab")["perplexity"], rtol=1e-5
    )


def test_a_served_model_says_what_it_takes(model, served):
    theirs = inspect.signature(served.generate).parameters
    ours = inspect.signature(model.generate).parameters
    assert list(theirs) == list(ours)
    assert all(theirs[x].default == ours[x].default for x in theirs if x != "end_id")
    assert "by draws or by beam search" in served.generate.__doc__
    assert "score(texts)" in served.__doc__ and "generate" in dir(served)


def test_a_served_model_refuses_what_it_does_not_take(served, tmp_path):
    with pytest.raises(AttributeError, match="the endpoints .*generate, .* Received: 'translate'"):
        served.translate("ab")
    with pytest.raises(
        TypeError, match=r"Expected generate\(prompts, max_new_tokens=60, .*'beams'"
    ):
        served.generate("ab", beams=3)
    with pytest.raises(ValueError, match="generate: top_k of int32 of shape .*Received: 'many'"):
        served.generate("ab", top_k="many")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected 0.0 <= top_p <= 1.0"):
        served.generate("ab", top_p=2.0)
    with pytest.raises(ValueError, match="generate: prompts of int32.*too large for int32"):
        served.generate([[3, 2**32 + 3]])
    with pytest.raises(FileNotFoundError, match="Expected a SavedModel. Received: path=.*export"):
        load_served(tmp_path)


def test_without_a_tokenizer_ids_are_served(tmp_path):
    model = LSTMLanguageModel(V, D, [], pad_id=0)
    model.export(tmp_path / "served", verbose=True)
    served = load_served(tmp_path / "served")
    assert set(served.functions) == {"serve", "generate_ids"}
    assert served.generate([[3, 4]], max_new_tokens=2).shape == [1, 4]


def test_served_ids_may_have_another_name_than_texts(tmp_path):
    module = tf.Module()
    texts, source = tf.TensorSpec([None], tf.string, "texts"), tf.TensorSpec([None, 2], tf.int32)
    module.double = tf.function(lambda texts: tf.stack([texts, texts], 1), input_signature=[texts])
    module.double_ids = tf.function(lambda source: 2 * source, input_signature=[source])
    signatures = {name: getattr(module, name) for name in ("double", "double_ids")}
    tf.saved_model.save(module, tmp_path, signatures)
    served = load_served(tmp_path)
    assert served.double(texts=["a"]).numpy().tolist() == [[b"a", b"a"]]
    for call in (
        served.double([[1, 2]]),
        served.double(texts=[[1, 2]]),
        served.double(source=[[1, 2]]),
        served.double_ids(source=[[1, 2]]),
    ):
        assert call.numpy().tolist() == [[2, 4]]


# === What is refused ===


def test_texts_without_a_tokenizer():
    model = LSTMLanguageModel(V, D, [], name="mine")
    with pytest.raises(
        ValueError, match="ids, since 'mine' has no tokenizer. .* model.tokenizer ="
    ):
        model.generate("ab")
    with pytest.raises(ValueError, match="Expected a list of strings. Received: ids. Give texts"):
        model.score([[1, 2]])


def test_tokenizers_that_do_not_fit():
    with pytest.raises(ValueError, match="vocabulary_size or a tokenizer. .* Give one of them"):
        LSTMLanguageModel(None, D, [])
    with pytest.raises(ValueError, match="of 12 pieces, .* Received: tokenizer.vocabulary_size=11"):
        LSTMLanguageModel(V + 1, D, [], tokenizer=TOKENIZER)
    model = LSTMLanguageModel(V, D, [], pad_id=5)
    with pytest.raises(ValueError, match="pad_id=5, as the model has it. Received: tokenizer.pad"):
        model.tokenizer = TOKENIZER
    with pytest.raises(ValueError, match="a Tokenizer or a Sentencep.*Received: tokenizer=<class"):
        model.tokenizer = Tokenizer
    with pytest.raises(ValueError, match="a Tokenizer or a Sentencep.*Received: tokenizer='abc'"):
        model.tokenizer = "abc"


def test_there_are_no_trained_weights_yet():
    message = r"trained weights. .*'small_moe_32', .* LSTMLanguageModel.from_sizes\('small_moe_32'"
    with pytest.raises(ValueError, match=message):
        LSTMLanguageModel.from_preset("small_moe_32")
    with pytest.raises(ValueError, match="Did you mean"):
        TransformerSeq2Seq.from_preset("switch_base_9")


def test_formats_have_signatures_of_their_own(model, tmp_path):
    with pytest.raises(ValueError, match="no input_signature with format='onnx'"):
        model.export(tmp_path / "model", format="onnx", input_signature=[])
