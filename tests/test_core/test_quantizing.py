"""`Model.quantize`, which cannot quantize stacked weights and says so, and policies that do."""

import copy
import re
import warnings

import keras
import numpy as np
import pytest

from conftest import slow_but
from moe_zoo.experts import FeedForwardExperts, GatedExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.layers import CGC, MMoE, MoE, SharedBottom
from moe_zoo.models import LSTMLanguageModel
from moe_zoo.models.recommender.tasks import BinaryTask
from moe_zoo.models.text.lstm_blocks import dense_block
from moe_zoo.models.transformer import Attention, FeedForward, TransformerStack
from moe_zoo.models.transformer.block import TransformerBlock
from moe_zoo.routers import SwitchRouter
from small_moe import normal
from small_recommender import small
from small_transformers import SHORT, inputs, make

D = 32  # int8 loses little where many products are added


def mixed():
    return HeterogeneousExperts([MLPExperts(2, (D,)), GatedExperts(1, 7)], name="mixed")


def quantize(model, mode="int8", **options):
    """What it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.quantize(mode, **options)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_layers_that_stay_as_they_are_are_named(mode):
    sparse = MoE(SwitchRouter(eval_capacity_factor=None), mixed(), name="moe")
    tasks = MMoE(FeedForwardExperts(3, 7, name="experts"), name="mmoe", num_tasks=2)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(D), sparse, tasks])
    x = normal(4, 5)
    before = model(x).numpy()
    said = [text for text in quantize(model, mode) if "stacked weights stay float32" in text]
    owners = [*sparse.experts.parts, tasks.experts]
    names = [re.search("Received: (.*), whose", text).group(1) for text in said]
    assert sorted(names) == sorted(f"{type(x).__name__} {x.path!r}" for x in owners)
    assert model.layers[0].quantization_mode == mode
    assert np.abs(model(x) - before).max() < 0.2 * np.abs(before).max()  # int4 has 16 values
    for layer in owners:
        assert all(weight.dtype in ("float32", "uint32") for weight in layer.weights)


def test_filters_and_networks_of_tasks():
    tasks = [
        SharedBottom((7,), name="bottom", num_tasks=2),
        CGC(MLPExperts(1, (7,)), MLPExperts(1, (7,)), num_tasks=2),
    ]
    inputs = keras.Input((D,))
    model = keras.Model(inputs, [layer(inputs) for layer in tasks])
    (said,) = quantize(model, filters="bottom")
    assert "SharedBottom 'bottom', whose stacked weights stay float32" in said
    assert len([x for x in quantize(model, filters="expert") if "MLPExperts" in x]) == 3
    for layer in (tasks[0], tasks[1].levels[0].shared_experts):
        with pytest.raises(NotImplementedError, match="stacked weights stay float32"):
            layer.quantize("int8")


def test_a_quantized_transformer_computes_nearly_the_same():
    model = make(**SHORT)
    before = model(inputs("language_model")).numpy()
    assert sum("FeedForwardExperts 'decoder/block_0/" in text for text in quantize(model)) == 1
    assert model.decoder.blocks[0].attention.query.quantization_mode == "int8"
    error = np.abs(model(inputs("language_model")) - before).max()
    assert 0.0 < error < 0.05 * np.abs(before).max()


SAVED = {
    "language_model": (lambda: make(**SHORT), lambda: inputs("language_model")),
    "seq2seq": (lambda: make("seq2seq", **SHORT), lambda: inputs("seq2seq")),
    "lstm": (
        lambda: LSTMLanguageModel(23, 4, [dense_block([7], 4)], pad_id=0),
        lambda: inputs("language_model"),
    ),
    "recommender": (lambda: small([BinaryTask("click")]), lambda: {"x": np.ones(2, "float32")}),
    "core": (lambda: small([BinaryTask("click")]).core, lambda: {"x": np.ones(2, "float32")}),
}


@pytest.mark.parametrize(
    ("kind", "mode"),
    slow_but(
        [("lstm", "int8"), ("recommender", "int8"), ("lstm", "float8")],
        [*((kind, "int8") for kind in SAVED), ("core", "int4"), ("lstm", "float8")],
    ),
)
def test_a_quantized_model_is_loaded_and_copied(kind, mode, tmp_path):
    make_model, make_inputs = SAVED[kind]
    model, x = make_model(), make_inputs()
    quantize(model, mode)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for same in (loaded, copy.deepcopy(loaded)):
        assert [w.dtype for w in same.weights] == [w.dtype for w in model.weights]
        for a, b in zip(*map(keras.tree.flatten, (same(x), model(x))), strict=True):
            np.testing.assert_array_equal(a, b)
    assert mode in [layer.quantization_mode for layer in loaded._flatten_layers()]


MAKERS = [
    lambda dtype: MoE(SwitchRouter(), MLPExperts(2, (3,)), dtype=dtype),
    lambda dtype: MMoE(MLPExperts(2, (3,)), dtype=dtype, num_tasks=2),
    lambda dtype: SharedBottom((3,), dtype=dtype, num_tasks=2),
    lambda dtype: MLPExperts(2, (3,), dtype=dtype),
    lambda dtype: FeedForwardExperts(2, 3, dtype=dtype),
    lambda dtype: Attention(2, dtype=dtype),
    lambda dtype: FeedForward(3, dtype=dtype),
    lambda dtype: TransformerBlock(Attention(2), FeedForward(3), dtype=dtype),
    lambda dtype: TransformerStack(Attention(2), FeedForward(3), 1, dtype=dtype),
]


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("policy", ["int8_from_float32", "float8_from_mixed_bfloat16"])
def test_policies_that_quantize_are_refused(maker, policy):
    with pytest.raises(ValueError, match=f"without quantization for .*Received: dtype='{policy}'"):
        maker(policy)
