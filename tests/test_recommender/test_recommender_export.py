"""Recommenders outside of moe_zoo: SavedModels of raw features, ONNX files of numbers."""

import importlib.util
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import MLPExperts
from moe_zoo.gates import DSelectKGate, NoisyTopKGate
from moe_zoo.layers import PLE, CrossStitch, MMoE, SharedBottom, SingleTask
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Buckets, Category, Hashed, ListOf, Number
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask

COLUMNS = {  # some values are missing, some were not there in training
    "age": [31.5, 250.0, float("nan"), 0.0],
    "hours per week": [40.0, 0.0, 99.0, float("nan")],
    "job": ["cook", "astronaut", "", "pilot"],
    "user": [2**60, 7, -1, 2**60 + 1],
    "tags": [["a", "b"], ["", ""], ["c", ""], ["?", "b"]],
    "path": ["x/y", "", "y", "nowhere/x"],
}
CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf

folder, results = sys.argv[1:]
served = tf.saved_model.load(folder)
types = {"age": "float32", "hours per week": "float32", "user": "int64"}
columns = {name: tf.constant(x, types.get(name)) for name, x in json.load(sys.stdin).items()}
answers = dict(served.serve(columns))
named = {name.replace(" ", "_"): x for name, x in columns.items()}
signature = served.signatures["serving_default"](**named)
answers.update({f"signature_{name}": x for name, x in signature.items()})
alone = [served.serve({name: x[i : i + 1] for name, x in columns.items()}) for i in range(4)]
answers["click_alone"] = tf.concat([x["click"] for x in alone], 0)
assert "moe_zoo" not in sys.modules
np.savez(results, **{name: np.asarray(x) for name, x in answers.items()})
"""
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(x) is None for x in ("tf2onnx", "onnx", "onnxruntime")),
    reason="needs tf2onnx, onnx and onnxruntime: pip install 'moe-zoo[onnx]'",
)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = MultiTaskRecommender(
        {
            "age": Number(log1p=True),
            "hours per week": Buckets(3),
            "job": Category(vocabulary=["cook", "pilot"]),
            "user": Hashed(11),
            "tags": ListOf(Category(), pooling="max"),
            "path": ListOf(Category(), separator="/"),
        },
        [
            BinaryTask("click"),
            BinaryTask("buy", label=False),
            ProductTask("both", of=("click", "buy")),
            RegressionTask("rating", mean=3.0, deviation=2.0),
            ClassTask("colour", 3),
        ],
        MMoE(MLPExperts(3, (5,))),
    )
    model.adapt(
        {
            "age": [20.0, 30.0, 60.0, 1.0],
            "hours per week": [10, 20, 30, 50],
            "job": ["cook"] * 4,
            "user": np.array([2**60, 3, 4, 5]),
            "tags": [["a", "b", "c"], [], ["b", "c"], ["c"]],
            "path": ["x/y", "y", "", "y"],
        }
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    return model


@pytest.mark.slow
def test_saved_model_without_moe_zoo(model, tmp_path):
    model.export(tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / "moved")
    result = subprocess.run(
        [sys.executable, "-c", CLIENT, tmp_path / "moved", tmp_path / "answers.npz"],
        input=json.dumps(COLUMNS),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    answers = np.load(tmp_path / "answers.npz")
    expected = model.predict({**COLUMNS, "user": np.array(COLUMNS["user"])}, verbose=0)
    assert set(expected) == {"click", "buy", "both", "rating", "colour"}
    for name, values in expected.items():
        np.testing.assert_array_equal(answers[name], values)
        np.testing.assert_array_equal(answers[f"signature_{name}"], values)
    np.testing.assert_allclose(answers["click_alone"], expected["click"], rtol=1e-5)
    assert len(set(expected["click"])) == 4


def test_names_of_columns_that_are_alike_or_taken_as_arguments(tmp_path):
    names = ["self", "A", "a", "a.b", "a_b", "A-b", "1", "arg_1", "ü", "é"]
    features = {name: Category(vocabulary=["x", "y"]) for name in names}
    model = MultiTaskRecommender(features, [BinaryTask("click")], SharedBottom((4,)))
    model.export(tmp_path)
    columns = {name: np.array([["x", "y"], ["y", "y"]][i % 2]) for i, name in enumerate(names)}
    served = tf.saved_model.load(tmp_path)
    answers = served.serve({name: tf.constant(values) for name, values in columns.items()})
    expected = model.predict(columns, verbose=0)
    np.testing.assert_allclose(answers["click"], expected["click"], rtol=1e-6)
    assert len(served.signatures["serving_default"].structured_input_signature[1]) == len(names)


def test_saved_model_of_the_core(model, tmp_path):
    model.core.export(tmp_path)
    served = tf.saved_model.load(str(tmp_path))
    encoded = model.encode(COLUMNS)
    answers = served.serve({name: tf.constant(x) for name, x in encoded.items()})
    expected = model.predict(COLUMNS, verbose=0)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-5)


def test_a_model_that_is_not_adapted_is_not_exported():
    model = MultiTaskRecommender({"age": Number()}, [BinaryTask("a")], SharedBottom((4,)))
    with pytest.raises(ValueError, match="Received: 'age', which are not. Call adapt"):
        model.endpoints()


# === ONNX ===


def run_onnx(path, columns):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {name.replace(" ", "_"): x for name, x in columns.items()}
    assert {x.name for x in session.get_inputs()} == set(inputs)
    names = [x.name for x in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


@needs_onnx
def test_core_as_onnx(model, tmp_path):
    model.core.export(tmp_path / "below" / "core.onnx", format="onnx")
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["core.onnx"]
    answers = run_onnx(tmp_path / "below" / "core.onnx", model.encode(COLUMNS))
    expected = model.predict(COLUMNS, verbose=0)
    assert set(answers) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-6)


@needs_onnx
@pytest.mark.parametrize(
    "mixing",
    [
        MMoE(MLPExperts(3, (5,)), DSelectKGate(2), shared_gate=True),
        MMoE(MLPExperts(3, (5,)), NoisyTopKGate(2)),
        PLE(MLPExperts(2, (5,)), MLPExperts(1, (5,))),
        CrossStitch((7, 5)),
        SingleTask((5,)),
    ],
    ids=lambda mixing: mixing.name,
)
def test_every_mixing_as_onnx(mixing, tmp_path):
    tasks = [BinaryTask("click"), RegressionTask("rating")]
    features = {"a": Number(mean=3.0, variance=4.0), "job": Category(vocabulary=["cook", "pilot"])}
    model = MultiTaskRecommender(features, tasks, mixing)
    model.core.export(tmp_path / "core.onnx", format="onnx")
    columns = {"a": [1.0, 2.0, 7.0], "job": ["cook", "", "astronaut"]}
    answers = run_onnx(tmp_path / "core.onnx", model.encode(columns))
    for name, values in model.predict(columns, verbose=0).items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-6)


@needs_onnx
def test_numbers_as_onnx_from_raw_values(tmp_path):
    model = MultiTaskRecommender(
        {"a b": Number(mean=3.0, variance=4.0), "c": Number(True, mean=1.0, variance=0.5)},
        [BinaryTask("click"), RegressionTask("rating")],
        MMoE(MLPExperts(3, (5,))),
    )
    columns = {"a b": [1.0, float("nan"), 5.0], "c": [0.0, 9.0, -1.0]}
    columns = {name: np.array(x, "float32") for name, x in columns.items()}
    model.export(tmp_path / "model.onnx", format="onnx")
    answers = run_onnx(tmp_path / "model.onnx", columns)
    for name, values in model.predict(columns, verbose=0).items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-6)


@needs_onnx
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("job", "'job', Category, which needs a lookup of its values in a table. Export `model"),
        ("user", "'user', Hashed, which needs a hash of its values. Export `model.core`"),
        ("tags", "'tags', ListOf, which needs a lookup"),
        ("hours per week", "'hours per week', Buckets, which needs a search among its boundaries"),
    ],
)
def test_features_that_onnx_has_no_operation_for(model, name, words, tmp_path):
    features = {name: model.features[name]}
    model = MultiTaskRecommender(features, [BinaryTask("click")], SharedBottom((4,)))
    with pytest.raises(ValueError, match=words):
        model.export(tmp_path / "model.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_half_precision_is_no_onnx(tmp_path):
    features = {"a": Number(mean=0.0, variance=1.0)}
    mixing = SharedBottom((4,), dtype="mixed_bfloat16")
    model = MultiTaskRecommender(features, [BinaryTask("click")], mixing)
    with pytest.raises(ValueError, match="model in float32. Received: .* in bfloat16. Make one"):
        model.export(tmp_path / "model.onnx", format="onnx")


def test_onnx_that_is_not_installed(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"Install them: pip install 'moe-zoo\[onnx\]'"):
        model.core.export(tmp_path / "core.onnx", format="onnx")
