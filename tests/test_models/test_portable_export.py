"""Transformers as ONNX and LiteRT files: opened elsewhere, with other batch sizes and lengths."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import slow_but
from moe_zoo import routing_stats
from moe_zoo.experts import FeedForwardExperts, GatedExperts, MLPExperts
from moe_zoo.export import export_litert, export_onnx, serving_mode
from moe_zoo.export.portable_form import compare, portable_form
from moe_zoo.layers import MMoE, MoE
from moe_zoo.models import (
    MultiTaskRecommender,
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
)
from moe_zoo.models.recommender.features import Category, Number
from moe_zoo.models.recommender.tasks import BinaryTask, RegressionTask
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter
from moe_zoo.scopes import portable, portable_operations

V, D, E, F = 23, 12, 3, 11
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(x) is None for x in ("tf2onnx", "onnx", "onnxruntime")),
    reason="needs tf2onnx, onnx and onnxruntime: pip install 'moe-zoo[onnx]'",
)
FORMATS = [pytest.param("onnx", marks=needs_onnx), "litert"]


def make(kind, *arguments, moe=None, **options):
    """A model of one sparse block, which drops nearly everything unless it is exported."""
    if moe is None:
        router = SwitchRouter(eval_capacity_factor=0.1, min_capacity=1)
        moe = MoE(router, FeedForwardExperts(E, F))
    attention = Attention(num_heads=3, head_dim=4)
    return kind(V, *arguments, D, 1, attention, FeedForward(F), moe, 1, **options)


def run(format, path, columns):
    """The answers of a file, by name."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [x.name for x in session.get_outputs()]
        return dict(zip(names, session.run(None, columns), strict=True))
    return tf.lite.Interpreter(str(path)).get_signature_runner("serve")(**columns)


def tokens(*shape):
    ids = np.random.default_rng(3).integers(1, V, shape).astype("int32")
    ids[0, -1] = 0
    return ids


MODELS = {
    "classifier": (lambda: make(TransformerClassifier, 5), ["tokens"]),
    "language_model": (
        lambda: make(TransformerLanguageModel, moe=MoE(GShardRouter(), GatedExperts(E, F))),
        ["tokens"],
    ),
    "seq2seq": (lambda: make(TransformerSeq2Seq), ["source", "target"]),
    "fixed_capacity": (
        lambda: make(
            TransformerClassifier,
            5,
            moe=MoE(
                SwitchRouter(expert_capacity=2, route_padding=True),
                FeedForwardExperts(E, F),
                group_by_row=True,
            ),
        ),
        ["tokens"],
    ),
    "noisy_top_k": (
        lambda: make(
            TransformerClassifier, 5, moe=MoE(NoisyTopKRouter(2), FeedForwardExperts(E, F))
        ),
        ["tokens"],
    ),
}


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("format", FORMATS)
def test_an_export_counts_in_no_statistics(format, tmp_path):
    inputs = keras.Input((D,))
    y = keras.layers.Dropout(0.1)(inputs)  # `training` is false for what follows it, and not None
    model = keras.Model(inputs, MoE(SwitchRouter(), FeedForwardExperts(E, F))(y))
    {"onnx": export_onnx, "litert": export_litert}[format](model, tmp_path / "model")
    (stats,) = routing_stats(model, training=False).values()
    assert stats.steps == 0


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", slow_but(["language_model"], MODELS))
def test_a_transformer_elsewhere(name, format, tmp_path):
    make_model, inputs = MODELS[name]
    model = make_model()
    path = tmp_path / "below" / "model"
    model.export(path, format=format)
    assert [x.name for x in path.parent.iterdir()] == ["model"]
    for shape in ((1, 1), (2, 7)):  # the file itself was tried with another one
        columns = {name: tokens(*shape) + (name == "target") for name in inputs}
        columns = {name: np.minimum(x, V - 1) for name, x in columns.items()}
        with serving_mode(model):
            expected = model(columns if len(inputs) > 1 else columns["tokens"])
        (logits,) = run(format, path, columns).values()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_a_recommender_as_litert(tmp_path):
    features = {"a": Number(mean=3.0, variance=4.0), "job": Category(vocabulary=["cook", "pilot"])}
    tasks = [BinaryTask("click"), RegressionTask("rating")]
    model = MultiTaskRecommender(features, tasks, MMoE(MLPExperts(3, (5,))))
    model.core.export(tmp_path / "core.tflite", format="litert")
    columns = {"a": [1.0, 2.0, 7.0, 0.0], "job": ["cook", "", "astronaut", "pilot"]}
    encoded = {name: np.asarray(x) for name, x in model.encode(columns).items()}
    answers = run("litert", tmp_path / "core.tflite", encoded)
    for name, values in model.predict(columns, verbose=0).items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="that LiteRT has operations for. Received: 'job', Cate"):
        model.export(tmp_path / "model.tflite", format="litert")


# === What the files are made of ===


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("router", [SwitchRouter(), GShardRouter()], ids=["top_1", "top_2"])
def test_portable_operations_give_the_same(router, masked):
    layer = MoE(router, GatedExperts(E, F))
    x = keras.random.normal((2, 7, D), seed=1)
    mask = tf.constant(np.arange(14).reshape(2, 7) % 5 > 0) if masked else None
    with serving_mode(keras.Sequential([keras.Input((None, D)), layer])):
        expected = layer(x, mask=mask)
        with portable_operations():
            found = layer(x, mask=mask)
            assert portable()
    assert not portable()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# === Errors ===


@pytest.mark.parametrize("format", FORMATS)
def test_half_precision_is_refused(format, tmp_path):
    model = make(TransformerClassifier, 5, dtype="mixed_bfloat16")
    with pytest.raises(ValueError, match="model in float32. Received: .* in bfloat16. Make one"):
        model.export(tmp_path / "model", format=format)
    assert not list(tmp_path.iterdir())


def test_a_model_without_inputs_of_known_shape_is_refused():
    class Mine(keras.Model):
        def call(self, inputs):
            return inputs

    model = Mine(name="mine")
    model(tf.ones([1, D]))
    with pytest.raises(
        ValueError, match="functional model. Received: 'mine', whose .* LiteRT needs"
    ):
        portable_form(model, "LiteRT")


def test_other_answers_are_found():
    form = portable_form(make(TransformerClassifier, 5), "ONNX")
    assert form.probe["tokens"].shape == (3, 5) and form.outputs == ["logits"]
    (right,) = form.answer(*form.probe.values())
    compare(form, "onnx", {"logits": right.numpy()})
    with pytest.raises(
        RuntimeError, match="(?s)Received: output 'logits', .* with the versions of"
    ):
        compare(form, "onnx", {"logits": right.numpy() + 0.01})


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_litert_has_no_operation_for(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Lambda(tf.math.digamma)(inputs))
    with pytest.raises(RuntimeError, match="that LiteRT has. Received: Custom ops: Digamma. Ano"):
        export_litert(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
