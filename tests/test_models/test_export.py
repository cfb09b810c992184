"""SavedModels: what they answer in a process without moe_zoo, and what they hold."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo import routing_stats
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import (
    check_new_or_saved_model,
    endpoint,
    export_saved_model,
    serving_mode,
)
from moe_zoo.layers import MoE
from moe_zoo.models import LSTMLanguageModel, mixture_block
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.routers import NoisyTopKRouter, SoftmaxRouter, SwitchRouter

D, E, F, K = 7, 5, 11, 2
TEXTS = ["def f(x):\n", "", "class A: return x", "pass"]
CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text

folder, results = sys.argv[1:]
served = tf.saved_model.load(folder)
ids = np.array(json.load(sys.stdin), "int32")
texts = tf.constant({texts!r})
answers = {{f"text_{{k}}": v for k, v in served.score(texts).items()}}
answers["batch"] = served.serve(ids)
answers["signature"] = list(served.signatures["serving_default"](tokens=ids).values())[0]
answers["alone"] = tf.concat([served.serve(row[None]) for row in ids], 0)
answers["greedy"] = served.generate(texts, max_new_tokens=7, temperature=0.0)
answers["drawn"] = served.generate(texts, max_new_tokens=7, temperature=1.5, top_p=0.9, seed=3)
answers["searched"] = served.generate(texts, max_new_tokens=7, num_beams=3)
assert "moe_zoo" not in sys.modules
np.savez(results, **{{k: np.asarray(v) for k, v in answers.items()}})
"""


@pytest.fixture(scope="module")
def tokenizer():
    text = "def f(x):\n    return x\n\nclass A:\n    pass\n"
    return Tokenizer(train_vocabulary([text * 5], 270))


@pytest.fixture(scope="module")
def model(tokenizer):
    """A language model whose mixture drops most of its tokens, except when it is exported."""
    router = NoisyTopKRouter(K, capacity_factor=0.2, eval_capacity_factor=0.2, min_capacity=1)
    block = mixture_block(E, F, K, router=router)
    model = LSTMLanguageModel(None, D, [block], tokenizer=tokenizer)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return model


@pytest.fixture(scope="module")
def ids(tokenizer):
    return np.random.default_rng(2).integers(3, tokenizer.vocabulary_size, (3, 13)).astype("int32")


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    """The SavedModel, moved away from where it was written."""
    parent = tmp_path_factory.mktemp("export")
    model.export(parent / "new" / "first")
    return (parent / "new" / "first").rename(parent / "moved")


@pytest.fixture(scope="module")
def answers(folder, ids, tmp_path_factory):
    """What a process answers that imports only TensorFlow and TensorFlow Text."""
    path = tmp_path_factory.mktemp("answers") / "answers.npz"
    client = CLIENT.format(texts=TEXTS)
    subprocess.run(
        [sys.executable, "-P", "-c", client, str(folder), str(path)],
        input=json.dumps(ids.tolist()),
        text=True,
        check=True,
    )
    return dict(np.load(path, allow_pickle=True))  # strings are objects


# === In a fresh process ===


@pytest.mark.slow
def test_serve_in_a_fresh_process(model, ids, answers):
    with serving_mode(model):
        expected = tf.function(model)(ids)
    np.testing.assert_array_equal(answers["batch"], expected)
    np.testing.assert_array_equal(answers["signature"], expected)


@pytest.mark.slow
def test_texts_in_a_fresh_process(model, tokenizer, answers):
    scores = model.score(TEXTS)
    greedy = model.generate(TEXTS, max_new_tokens=7, temperature=0)
    drawn = model.generate(TEXTS, 7, temperature=1.5, top_k=20, top_p=0.9, seed=3)
    searched = model.generate(TEXTS, 7, num_beams=3, length_penalty=0.6)
    for name, expected in scores.items():
        np.testing.assert_array_equal(answers[f"text_{name}"], expected)
    for name, texts in (("greedy", greedy), ("drawn", drawn), ("searched", searched)):
        assert [text.decode("utf-8", "replace") for text in answers[name]] == texts
    assert any(answers["searched"] != answers["greedy"])
    assert any(answers["drawn"] != answers["greedy"])


@pytest.mark.slow
def test_an_output_does_not_depend_on_its_batch_mates(model, ids, answers):
    np.testing.assert_allclose(answers["alone"], answers["batch"], rtol=1e-5, atol=1e-5)
    # Outside of an export the evaluation capacity is in force, and tokens are dropped.
    together = model(ids).numpy()
    alone = np.concatenate([model(row[None]) for row in ids])
    assert np.abs(together - alone).max() > 0.05


# === The graph ===


def functions_of(path):
    """Every function of a SavedModel's graph, by name, with its operations' names."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    library = saved.meta_graphs[0].graph_def.library.function
    return {f.signature.name: [node.op for node in f.node_def] for f in library}


@pytest.mark.slow
def test_the_graph_has_no_cudnn_kernel_and_assigns_nothing(folder):
    functions = functions_of(folder)
    served = {name: ops for name, ops in functions.items() if "restore" not in name}
    operations = {op for ops in served.values() for op in ops}
    assert {"MatMul", "BiasAdd"} & operations  # the search sees the model's operations
    assert not [op for op in operations if "Cudnn" in op]
    assert not [op for op in operations if op.startswith("Assign")]


def test_serving_leaves_statistics_alone(folder, ids):
    served = tf.saved_model.load(str(folder))
    before = [variable.numpy() for variable in served.variables]
    served.serve(ids)
    for variable, value in zip(served.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


# === The folder ===


def sequential(router, units=1):
    mixture = MoE(router, FeedForwardExperts(3, F))
    return keras.Sequential([keras.Input((D,)), mixture, keras.layers.Dense(units)])


def test_an_earlier_saved_model_is_replaced_and_nothing_left(tmp_path):
    x = tf.constant(np.random.default_rng(1).normal(size=(11, D)), tf.float32)
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = sequential(SwitchRouter())
        export_saved_model(model, tmp_path / "served")
        with serving_mode(model):
            expected = tf.function(model)(x)
        served = tf.saved_model.load(str(tmp_path / "served"))
        np.testing.assert_array_equal(served.serve(x), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_an_export_that_fails_leaves_the_earlier_one(tmp_path):
    def broken(inputs):
        raise RuntimeError("cannot be traced")

    export_saved_model(sequential(SwitchRouter()), tmp_path / "served")
    before = (tmp_path / "served" / "saved_model.pb").read_bytes()
    endpoints = {"serve": tf.function(broken, input_signature=[tf.TensorSpec([None, D])])}
    with pytest.raises(RuntimeError, match="cannot be traced"):
        export_saved_model(sequential(SwitchRouter()), tmp_path / "served", endpoints)
    assert (tmp_path / "served" / "saved_model.pb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_other_files_are_not_overwritten(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more work")
    model = sequential(SwitchRouter())
    with pytest.raises(ValueError, match=r"folder', which holds other files\. Choose another"):
        export_saved_model(model, tmp_path / "folder")
    with pytest.raises(ValueError, match=r"file', which is a file\. Choose another path"):
        export_saved_model(model, tmp_path / "file")
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "more work"
    with pytest.raises(ValueError, match=r"below', which is inside '.*file', which is no folder"):
        export_saved_model(model, tmp_path / "file" / "below")
    (tmp_path / "empty").mkdir()
    export_saved_model(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "saved_model.pb").exists()


def test_a_file_beside_an_earlier_saved_model_is_not_lost(tmp_path):
    for name in ("saved_model.pb", "notes.txt"):
        (tmp_path / name).write_text("work")
    with pytest.raises(ValueError, match=r"or move 'notes\.txt' away"):
        check_new_or_saved_model(tmp_path)
    (tmp_path / "notes.txt").unlink()
    check_new_or_saved_model(tmp_path)


def test_a_model_without_weights_is_refused(tmp_path):
    model = keras.Sequential([MoE(SwitchRouter(), FeedForwardExperts(3, F))], name="mine")
    with pytest.raises(ValueError, match="Received: 'mine', which has no weights yet. Call it"):
        export_saved_model(model, tmp_path / "served")


# === A user's own model ===


@pytest.mark.parametrize(
    "make_router",
    [
        lambda: SwitchRouter(capacity_factor=1.0, eval_capacity_factor=1.0, min_capacity=1),
        SoftmaxRouter,
    ],
)
def test_keras_own_export_of_a_functional_model(make_router, tmp_path):
    inputs = keras.Input((None, D))
    outputs = keras.layers.Dense(2)(
        MoE(make_router(), FeedForwardExperts(3, F), name="moe")(inputs)
    )
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    x = np.random.default_rng(1).normal(size=(4, 5, D)).astype("float32")
    model.fit(x, x[..., :2], verbose=0)
    before = routing_stats(model)["moe"]
    model.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_array_equal(served.serve(x), tf.function(model)(x))
    assert served.serve(x[:1, :3]).shape == (1, 3, 2)
    after = routing_stats(model)["moe"]
    np.testing.assert_array_equal(after.load, before.load)
    assert after.steps == before.steps == 1
    served = functions_of(tmp_path / "served")
    assert not [
        op
        for name, ops in served.items()
        if "restore" not in name
        for op in ops
        if op.startswith("Assign")
    ]


# === The mode ===


def test_serving_mode_ends_with_everything_as_it_was(model):
    router, lstm = model.middle[0].layers[0].router, model.blocks[0]
    before = router.eval_capacity_factor, lstm.use_cudnn
    assert before[0] == 0.2
    for error in (False, True):
        with pytest.raises(KeyError) if error else serving_mode(model):
            with serving_mode(model):
                assert router.eval_capacity_factor is None
                assert lstm.use_cudnn is False
                if error:
                    raise KeyError
        assert (router.eval_capacity_factor, lstm.use_cudnn) == before


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU])
def test_recurrent_layers_are_served_by_the_portable_kernel(kind):
    model = keras.Sequential([keras.Input((None, D)), kind(3)])
    with serving_mode(model):
        assert model.layers[0].use_cudnn is False
    assert model.layers[0].use_cudnn == "auto"


def test_an_endpoint_may_branch_as_any_function_of_tensorflow(tmp_path):
    model = sequential(SwitchRouter())

    @tf.function(input_signature=[tf.TensorSpec([None, D])])
    def serve(inputs):
        if tf.reduce_sum(inputs) > 0:
            return model(inputs)
        return -model(inputs)

    x = tf.ones([2, D])
    export_saved_model(model, tmp_path / "served", {"serve": serve})
    served = tf.saved_model.load(str(tmp_path / "served"))
    with serving_mode(model):
        np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-5)
        np.testing.assert_allclose(served.serve(-x), -model(-x), rtol=1e-5)


def test_serving_mode_reaches_layers_at_any_depth():
    inner = sequential(SwitchRouter(), units=D)
    outer = keras.Sequential([keras.Input((D,)), keras.Sequential([inner])])
    router = inner.layers[0].router
    with serving_mode(outer):
        assert router.eval_capacity_factor is None
    assert router.eval_capacity_factor == 2.0


def test_a_model_of_unknown_input_needs_endpoints(tmp_path):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.dense = keras.layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Mine()
    model(tf.ones([1, D]))
    with pytest.raises(ValueError, match=r"Received: 'mine', .* Give its `endpoints`\."):
        export_saved_model(model, tmp_path / "served")
    endpoints = {"score": endpoint(model, model.call, tf.TensorSpec([None, D]))}
    export_saved_model(model, tmp_path / "served", endpoints)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_array_equal(served.score(tf.ones([3, D])), model(tf.ones([3, D])))


@pytest.mark.parametrize("xla", [False, True])
def test_in_serving_mode_predict_and_evaluate_are_dropless_too_and_not_after_it(xla):
    router = SwitchRouter(eval_capacity_factor=0.1, min_capacity=1)
    layer = MoE(router, FeedForwardExperts(3, 8))
    model = keras.Sequential([keras.Input((5, 4)), layer])
    model.compile(loss="mse", jit_compile=xla)
    x = np.random.default_rng(0).normal(size=(7, 5, 4)).astype("float32")
    before = model.predict(x, verbose=0)
    assert np.any(np.all(before == 0, axis=-1))  # tokens without a slot
    with serving_mode(model):
        np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5, atol=1e-6)
        error = model.evaluate(x, model(x), verbose=0, return_dict=True)["loss"]
        assert error == pytest.approx(0, abs=1e-9)
    assert model.jit_compile == xla
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
