"""The Transformers' presets: published sizes, counts without memory, options."""

import resource

import keras
import numpy as np
import pytest

from moe_zoo.layers import MoE
from moe_zoo.models import (
    TRANSFORMER_CLASSIFIERS,
    TRANSFORMER_LANGUAGE_MODELS,
    TRANSFORMER_SEQ2SEQS,
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
    count_parameters,
)
from moe_zoo.models.parameters import weights_without_values
from moe_zoo.models.transformer import Positions
from moe_zoo.models.transformer.preset_layers import preset_layers
from moe_zoo.routers import GShardRouter, SwitchRouter

V = 23
MODELS = {
    "seq2seq": (TransformerSeq2Seq, TRANSFORMER_SEQ2SEQS),
    "language_model": (TransformerLanguageModel, TRANSFORMER_LANGUAGE_MODELS),
    "classifier": (TransformerClassifier, TRANSFORMER_CLASSIFIERS),
}
# Unique parameters of the published weights, and in billions as the paper has them.
PUBLISHED = {
    "switch_base_8": 619_339_008,
    "switch_base_16": 1_072_397_568,
    "switch_base_32": 1_978_514_688,
    "switch_base_64": 3_790_748_928,
    "switch_base_128": 7_415_217_408,
    "switch_base_256": 14_664_154_368,
    "switch_large_128": 26_309_291_008,
    "switch_xxl": 394_675_073_024,
    "switch_c": 1_571_327_875_360,
}
ROUNDED = {"switch_large_128": 26e9, "switch_xxl": 395e9, "switch_c": 1571e9}


def counted(kind, preset, vocabulary=32128):
    cls, _ = MODELS[kind]
    with weights_without_values():
        more = {"num_classes": 3} if kind == "classifier" else {}
        return count_parameters(cls.from_sizes(preset, vocabulary, **more))


def switch_size(d, f, inner, blocks, sparse, experts, gated=False, heads=12, tied=True):
    """By hand: kernels, 2 or 3 norms a block, routers of d * E, a table of 32 * H a stack."""
    kernels = (3 if gated else 2) * d * f
    attention = 4 * d * inner
    encoder = blocks * (attention + 2 * d)
    decoder = blocks * (2 * attention + 3 * d)
    dense = 2 * (blocks - sparse) * kernels
    mixtures = 2 * sparse * (experts * kernels + d * experts)
    rest = 2 * (d + 32 * heads) + 32128 * d * (1 if tied else 2)
    return encoder + decoder + dense + mixtures + rest


def test_counts_by_hand():
    assert switch_size(768, 3072, 768, 12, 6, 8) == PUBLISHED["switch_base_8"]
    large = switch_size(1024, 4096, 1024, 24, 12, 128, heads=16)
    assert large == PUBLISHED["switch_large_128"]
    xxl = switch_size(4096, 10240, 4096, 24, 12, 128, True, heads=64, tied=False)
    assert xxl == PUBLISHED["switch_xxl"]
    c = switch_size(2080, 6144, 1920, 15, 15, 2048, heads=30, tied=False)
    assert c == PUBLISHED["switch_c"]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_sizes_without_their_memory(preset):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, entry = counted("seq2seq", preset), TRANSFORMER_SEQ2SEQS[preset]
    assert found.total == PUBLISHED[preset] == entry["parameters"]
    assert found.active == entry["active_parameters"]
    assert found.total == pytest.approx(ROUNDED.get(preset, found.total), rel=0.015)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200e3  # KiB
    assert entry["vocabulary_size"] == 32128


@pytest.mark.parametrize(("preset", "billions"), [("gshard_512", 150), ("gshard_2048", 600)])
def test_sizes_of_gshard(preset, billions):
    assert counted("seq2seq", preset).core / 1e9 == pytest.approx(billions, rel=0.04)


@pytest.mark.parametrize(
    ("kind", "preset"), [(kind, name) for kind, (_, presets) in MODELS.items() for name in presets]
)
def test_the_table_of_presets_holds_their_sizes(kind, preset):
    entry = MODELS[kind][1][preset]
    if "parameters" in entry:  # counted above; the core is without embeddings and head
        width = entry["sizes"]["width"]
        tables = 1 if entry["sizes"].get("tie_head", True) else 2
        outside = 32128 * width * tables
        assert entry["core_parameters"] == entry["parameters"] - outside
        assert entry["active_core_parameters"] == entry["active_parameters"] - outside
        return
    found = counted(kind, preset, V)
    assert entry["core_parameters"] == found.core
    assert entry["active_core_parameters"] == found.active_core


@pytest.mark.parametrize("kind", MODELS)
def test_small_ones_cost_what_their_dense_baseline_costs(kind):
    """The active parameters differ by the routers: E * 128 in each of two blocks."""
    dense = counted(kind, "small_dense", V)
    for name, experts in (("small_switch_8", 8), ("small_switch_32", 32), ("small_gshard_32", 32)):
        found = counted(kind, name, V)
        assert found.active - dense.active == 2 * experts * 128
        model = small(kind, name)
        assert count_parameters(model) == found
        assert count_parameters(model.dense_baseline()) == dense


def small(kind, preset="small_switch_8", **options):
    more = {"num_classes": 3} if kind == "classifier" else {}
    return MODELS[kind][0].from_sizes(preset, V, **more, **options)


@pytest.mark.parametrize("kind", MODELS)
def test_options_of_a_preset(kind):
    router = GShardRouter(top_k=3, capacity_factor=1.0)
    model = small(kind, router=router, num_experts=5, expert_dropout=0.4, dropout=0.2, max_length=7)
    stack = model.encoder if kind == "classifier" else model.decoder
    moe = stack.blocks[1].feed_forward
    assert isinstance(moe, MoE) and moe.experts.num_experts == 5
    assert isinstance(moe.router, GShardRouter) and moe.router.top_k == 3
    assert moe.experts.dropout.rate == 0.4
    block = stack.blocks[0]
    rates = [layer.dropout.rate for layer in (stack, block, block.attention, block.feed_forward)]
    assert rates == [0.2] * 4
    assert stack.max_length == 7


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", MODELS)
def test_selective_precision(kind, policy):
    """All in half precision but the weights, the routers and the softmax."""
    model = small(kind, dtype=policy)
    half = policy.removeprefix("mixed_")
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, SwitchRouter):
            assert layer.compute_dtype == "float32"
        elif layer.weights and not isinstance(layer, Positions):
            assert layer.compute_dtype == half, layer.path
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


def test_initial_scale():
    """sigma = sqrt(0.1 / fan_in), cut off at two sigma (Fedus et al. 2022, section 2.4)."""
    model = small("language_model", "small_switch_32")
    for weight in model.decoder.trainable_weights:
        if len(weight.shape) < 2:
            continue
        fan_in = weight.shape[-2]
        values = weight.numpy()
        assert np.std(values) == pytest.approx(np.sqrt(0.1 / fan_in), rel=0.1), weight.path
        assert np.abs(values).max() < 2.3 * np.sqrt(0.1 / fan_in)  # Keras rescales what is cut off


def test_a_published_preset_as_it_was_trained():
    model = preset_layers(TRANSFORMER_SEQ2SEQS, "switch_xxl")
    assert model["moe"].experts.activation is keras.activations.gelu
    assert model["moe"].router.eval_capacity_factor == 4.0
    assert model["tie_head"] is False and model["dropout"] == 0.1
    assert model["attention"].scale == 1.0
    assert preset_layers(TRANSFORMER_SEQ2SEQS, "switch_c")["moe_every"] == 1


@pytest.mark.parametrize("wrong", [{"num_experts": 3}, {"expert_dropout": 0.4}])
def test_a_dense_preset_takes_no_experts(wrong):
    message = "Expected a preset with a mixture of experts. Received: preset='small_dense'"
    with pytest.raises(ValueError, match=message):
        small("language_model", "small_dense", **wrong)


def test_no_experts_are_not_the_number_of_the_preset():
    with pytest.raises(ValueError, match="num_experts=0"):
        small("language_model", num_experts=0)


@pytest.mark.parametrize("kind", MODELS)
def test_an_unknown_preset_is_told_the_nearest_names(kind):
    message = r"Received: preset='small_swich_8'\. Did you mean 'small_switch_8'"
    with pytest.raises(ValueError, match=message):
        small(kind, "small_swich_8")
