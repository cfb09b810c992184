"""Routed examples: what is written is what the model routes, and nothing else changes by it."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import slow_but
from mesh_models import BATCH, LENGTH, compiled, functional, tokens
from moe_zoo.analysis import routed_tokens
from moe_zoo.distribution import ExpertParallel
from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.gates import NoisyTopKGate
from moe_zoo.layers import MMoE, MoE
from moe_zoo.routers import SwitchRouter
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutedExamples, RoutingCallback
from routing_events import read

B, T, VOCABULARY, D, E = 3, 5, 11, 7, 4
IDS = np.random.default_rng(0).integers(1, VOCABULARY, (B, T))
IDS[1, 3:] = 0  # padding
WORDS = np.where(IDS > 0, np.char.add("w", IDS.astype(str)), "")


def model_of(jit_compile=False, **router):
    """Two mixtures; few slots, so that some tokens are dropped in evaluation too."""
    inputs = keras.Input((T,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, D, mask_zero=True)(inputs)
    for name in ("first", "second"):
        router = SwitchRouter(eval_capacity_factor=0.5, min_capacity=1, seed=1)
        mixture = MoE(router, FeedForwardExperts(E, 13), name=name)
        x = keras.layers.add([x, mixture(x)])
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=jit_compile)
    return model


def fit(model, folder, examples, **options):
    callback = RoutingCallback(folder, every=2, examples=examples)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (8, T))
    y = np.ones((8, T, 1))
    return model.fit(
        ids, y, batch_size=2, shuffle=False, verbose=0, callbacks=[callback], **options
    ).history


def examples_in(folder, layer):
    """`{step: texts}` of a layer."""
    values, _ = read(folder / "train")
    return {step: json.loads(value.item())["texts"] for step, value in values[f"{layer}/examples"]}


def expected_texts(routed, words):
    """From the table of a layer's choices, row by row."""
    table = routed.table()
    texts = []
    for row in range(len(words)):
        texts.append([])
        for place in range(words.shape[1]):
            if not words[row, place]:
                continue
            mine = table["token"] == row * words.shape[1] + place
            choices = [
                [int(expert), round(float(gate), 4), bool(kept)]
                for expert, gate, kept in zip(
                    table["expert"][mine], table["gate"][mine], table["kept"][mine], strict=True
                )
            ]
            texts[-1].append([words[row, place], choices])
    return texts


@pytest.mark.parametrize(
    ("policy", "jit_compile"),
    slow_but(
        [("float32", True), ("mixed_bfloat16", False)],
        [("float32", False), ("float32", True), ("mixed_float16", True), ("mixed_bfloat16", False)],
    ),
)
def test_the_files_hold_what_the_model_routes_at_the_end_of_an_epoch(policy, jit_compile, tmp_path):
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    model = model_of(jit_compile)
    fit(model, tmp_path, RoutedExamples(IDS, WORDS), epochs=2)
    routed = {path.split("/")[-1]: r for path, r in routed_tokens(model, IDS).items()}
    for layer in ("first", "second"):
        found = examples_in(tmp_path, layer)
        assert list(found) == [1, 4, 8]  # steps
        assert found[8] == expected_texts(routed[layer], WORDS)
        assert [len(text) for text in found[8]] == [T, 3, T]
    kept = [choice[2] for text in found[8] for _, choices in text for choice in choices]
    assert True in kept and False in kept


def test_examples_change_neither_training_nor_statistics(tmp_path):
    histories, all_stats = [], []
    for name, examples in (("with", RoutedExamples(IDS, WORDS)), ("without", None)):
        keras.utils.set_random_seed(1)
        model = model_of()
        histories.append(fit(model, tmp_path / name, examples, epochs=2))
        all_stats.append((routing_stats(model), routing_stats(model, training=False)))
    assert histories[0] == histories[1]
    for stats, others in zip(*all_stats, strict=True):
        for layer in stats:
            np.testing.assert_array_equal(stats[layer].load, others[layer].load)
    assert all_stats[0][1]["first"].tokens == 0


def test_layers_that_see_other_tokens():
    examples = RoutedExamples(IDS, {"encoder": WORDS, "last": WORDS[:, :1], "decoder": WORDS})
    assert examples.name_for("model/encoder/moe") == "encoder"
    assert examples.name_for("encoder/last/moe") == "last"
    assert examples.name_for("model/decoder") == "decoder"
    assert examples.name_for("decoder_1/moe") is None
    assert RoutedExamples(IDS, WORDS).name_for("any/layer") == ""


@pytest.mark.slow
def test_tokens_for_the_layers_of_a_users_own_model(tmp_path):
    class Two(keras.Model):
        def __init__(self):
            super().__init__(name="two")
            self.embed = keras.layers.Embedding(VOCABULARY, D)
            self.mixtures = [
                MoE(SwitchRouter(), FeedForwardExperts(E, 3), name=name) for name in ("a", "b")
            ]

        def call(self, x, training=None):
            x = self.embed(x)
            left, right = (m(x, training=training) for m in self.mixtures)
            return left + right

    for names in ({"a": WORDS}, {"tpyo": WORDS}, {"two": WORDS}):
        model, folder = Two(), tmp_path / next(iter(names))
        model.compile("sgd", "mse")
        callback = RoutingCallback(folder, examples=RoutedExamples(IDS, names))
        if "tpyo" in names:
            with pytest.raises(ValueError, match=r"Received: \['tpyo'\], for layers at .*two/a"):
                model.fit(IDS, np.ones((B, T, D)), verbose=0, callbacks=[callback])
            continue
        model.fit(IDS, np.ones((B, T, D)), verbose=0, callbacks=[callback])
        values, _ = read(folder / "train")
        assert ("b/examples" in values) == ("two" in names) and "a/examples" in values


def test_a_wrong_number_of_tokens_is_told_after_one_batch(tmp_path):
    model = model_of()
    with pytest.raises(ValueError, match="a value for each of 15 tokens. Received: tokens with 24"):
        fit(model, tmp_path, RoutedExamples(IDS, np.full((B, 8), "x")))
    assert int(model.optimizer.iterations) == 1


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([[["a"]]] * B, r"Received: \['a'\] as the text of a token"),
        ([["a", 1]] * B, "Received: 1 as the text of a token"),
        (WORDS.T, "tokens of 3 rows, as the inputs have. Received: tokens of 5 rows"),
    ],
)
def test_tokens_that_cannot_be(tokens, words):
    with pytest.raises(ValueError, match=words):
        RoutedExamples(IDS, tokens)


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        tf.ragged.constant,
        lambda rows: [[text.encode() for text in row] for row in rows],
    ],
)
def test_shorter_rows_are_filled_up_and_bytes_are_read(make):
    examples = RoutedExamples(IDS, make([["ä", "b"], [], ["c"]]))
    assert examples.tokens[""].tolist() == [["ä", "b"], ["", ""], ["c", ""]]
    assert RoutedExamples(IDS, tf.constant(["ä", "b", "c"])).tokens[""].tolist() == [
        ["ä"],
        ["b"],
        ["c"],
    ]


def test_rows_of_a_table_and_the_gates_of_tasks(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, D)).astype("float32")
    inputs = keras.Input((D,))
    mixed = MMoE(
        MLPExperts(E, (3,)), NoisyTopKGate(2), task_names=["buy", "click"], name="m", num_tasks=2
    )
    one = MMoE(MLPExperts(E, (3,)), shared_gate=True, name="o", num_tasks=2)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.add([mixed(inputs), one])))
    model.compile("sgd", "mse")
    names = [f"row {i}" for i in range(4)]
    callback = RoutingCallback(tmp_path, examples=RoutedExamples(x, names))
    model.fit(x, np.ones((4, 2, 1)), verbose=0, callbacks=[callback])
    gates = mixed.gate(x, training=False).gates.numpy()  # [B, T, E]
    for task, name in enumerate(["m_buy", "m_click"]):
        (texts,) = examples_in(tmp_path, name).values()
        for row, text in enumerate(texts):
            ((piece, choices),) = text
            assert piece == f"row {row}"
            assert all(kept for _, _, kept in choices)  # a gate drops nothing
            shown = {expert: gate for expert, gate, _ in choices}
            best = np.argsort(-gates[row, task])[:2]
            assert shown == {int(e): pytest.approx(gates[row, task, e], abs=1e-4) for e in best}
    (texts,) = examples_in(tmp_path, "o").values()
    assert [len(choices) for ((_, choices),) in texts] == [E] * 4
    _, metadata = read(tmp_path / "train")
    about = json.loads(metadata["m_click/load"].plugin_data.content)
    assert about["group"] == "m" and about["task"] == "click" and about["index"] == 1
    about = json.loads(metadata["o/load"].plugin_data.content)
    assert about["group"] == "o" and about["task"] is None


@pytest.mark.slow
def test_on_a_mesh_as_on_one_device(tmp_path):
    ids = tokens(1)[0][:2]
    words = np.char.add("w", ids.astype(str))
    make = functools.partial(functional, "gshard")
    plain, model = compiled(make), compiled(make)
    ExpertParallel("batch=2,expert=2").distribute(model)
    found = []
    for one, folder in ((plain, tmp_path / "plain"), (model, tmp_path / "mesh")):
        callback = RoutingCallback(folder, examples=RoutedExamples(ids, words))
        one.fit(*tokens(2), batch_size=BATCH, verbose=0, shuffle=False, callbacks=[callback])
        values, _ = read(folder / "train")
        (layer,) = (tag.removesuffix("/examples") for tag in values if tag.endswith("/examples"))
        found.append((examples_in(folder, layer)[2], values[f"{layer}/pairs"][0][1]))
    (texts, pairs), (other_texts, other_pairs) = found
    assert len(texts) == 2 and len(texts[0]) == LENGTH
    np.testing.assert_array_equal(other_pairs, pairs)
    assert pairs.sum() > 0
    for text, other in zip(texts, other_texts, strict=True):
        for (piece, choices), (other_piece, other_choices) in zip(text, other, strict=True):
            assert piece == other_piece
            assert [c[0] for c in choices] == [c[0] for c in other_choices]
            np.testing.assert_allclose(
                [c[1] for c in choices], [c[1] for c in other_choices], atol=2e-4
            )


def test_examples_follow_the_weights(tmp_path):
    """The graph is made once; what it reads are the weights of the moment."""
    keras.utils.set_random_seed(1)
    model = model_of()
    fit(model, tmp_path, RoutedExamples(IDS, WORDS), epochs=3)
    found = examples_in(tmp_path, "first")
    assert list(found) == [1, 4, 8, 12]
    assert found[4] != found[8] != found[12]


def test_several_inputs(tmp_path):
    """As dictionaries, which Keras' functional models take."""
    inputs = {name: keras.Input((T,), dtype="int32", name=name) for name in ("left", "right")}
    embed = keras.layers.Embedding(VOCABULARY, D)
    mixture = MoE(SwitchRouter(), FeedForwardExperts(E, 3), name="mixture")
    x = mixture(keras.layers.add([embed(part) for part in inputs.values()]))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse")
    x = {"left": IDS, "right": IDS}
    callback = RoutingCallback(tmp_path, examples=RoutedExamples(x, WORDS))
    model.fit(x, np.ones((B, T, 1)), verbose=0, callbacks=[callback])
    (texts,) = examples_in(tmp_path, "mixture").values()
    assert texts == expected_texts(routed_tokens(model, x)["mixture"], WORDS)
