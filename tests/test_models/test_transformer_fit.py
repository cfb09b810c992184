"""The Transformer models train, in every precision and under XLA; they are saved and loaded."""

import copy
import json

import keras
import numpy as np
import pytest

from conftest import slow_but
from moe_zoo.experts import FeedForwardExperts, GatedExperts, MLPExperts
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerLanguageModel, count_parameters
from moe_zoo.models.transformer import Attention, FeedForward, GatedFeedForward, dense_layer_like
from moe_zoo.routers import GShardRouter, SoftmaxRouter, SwitchRouter
from small_transformers import (
    KINDS,
    POSITIONS,
    SHORT,
    D,
    E,
    F,
    V,
    cross_entropy,
    inputs,
    labels,
    make,
    mixture,
    tokens,
)


def steps(model, kind, count=12, **options):
    """Losses of so many steps on one batch."""
    model.compile(keras.optimizers.Adam(1e-2), cross_entropy(), **options)
    given, wanted = inputs(kind), labels(kind)
    return [
        float(model.train_on_batch(given, wanted, return_dict=True)["loss"]) for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("kind", "policy"),
    slow_but(
        [("language_model", "float32"), ("classifier", "mixed_bfloat16")],
        [
            ("language_model", "float32"),
            ("language_model", "mixed_bfloat16"),
            ("classifier", "mixed_bfloat16"),
            ("seq2seq", "mixed_float16"),
        ],
    ),
)
def test_a_batch_can_be_learned(kind, policy):
    keras.config.set_dtype_policy(policy)
    model = make(kind, random=False, moe=mixture(), **SHORT)
    losses = steps(model, kind, jit_compile=False)
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.8 * losses[0]
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    half = policy.removeprefix("mixed_")
    assert model(inputs(kind)).dtype == half


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "seq2seq"])
def test_xla_gives_the_same(kind):
    plain, compiled = (
        steps(make(kind, **SHORT), kind, count=2, jit_compile=jit) for jit in (False, True)
    )
    np.testing.assert_allclose(compiled, plain, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_fit_shows_the_routing_of_each_mixture(kind):
    model = make(kind, random=False, **{**SHORT, "layers": 2, "num_decoder_layers": 2})
    model.compile("sgd", cross_entropy(), run_eagerly=True)
    logs = model.fit(inputs(kind), labels(kind), verbose=0).history
    stacks = {"language_model": ["decoder"], "classifier": ["encoder"]}
    for name in stacks.get(kind, ["encoder", "decoder"]):
        assert {f"{name}_moe_{i}_dropped_fraction" for i in range(2)} <= logs.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_for_training_only(kind):
    model = make(kind, dropout=0.5)
    given = inputs(kind)
    np.testing.assert_array_equal(model(given), model(given, training=False))
    assert np.any(model(given, training=True) != model(given, training=True))


# === Saving ===


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(kind, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    position = POSITIONS["relative"]
    # Several mixtures in a stack: Keras takes parts for shared if it finds one object twice.
    model = make(kind, moe=mixture(), moe_every=1, position=position, dropout=0.25, max_length=99)
    expected = logits(model, kind)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.save(tmp_path / "again.keras")
    for each in (loaded, keras.models.load_model(tmp_path / "again.keras")):
        assert type(each) is type(model) and each.dtype_policy.name == policy
        assert [w.path for w in each.trainable_weights] == [w.path for w in model.trainable_weights]
        np.testing.assert_array_equal(logits(each, kind), expected)
    other = type(model).from_config(model.get_config())
    assert np.any(logits(other, kind) != expected)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(logits(other, kind), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_changed_on_layers_is_saved(kind, tmp_path):
    """Capacities set for serving, layers frozen for fine-tuning, an optimizer that fits them."""
    model = make(kind, moe=mixture(), layers=4)
    routers = [x for x in model._flatten_layers() if isinstance(x, SwitchRouter)]
    for router in routers:
        router.eval_capacity_factor, router.jitter = None, 0.3
    model.embedding.trainable = False
    model.compile("adam", cross_entropy(), run_eagerly=True)
    model.fit(inputs(kind), labels(kind), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = [x for x in loaded._flatten_layers() if isinstance(x, SwitchRouter)]
    assert len(again) == len(routers) >= 2
    assert {(x.eval_capacity_factor, x.jitter) for x in again} == {(None, 0.3)}
    assert not loaded.embedding.trainable
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    assert int(loaded.optimizer.iterations) == 1
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def logits(model, kind):
    return keras.ops.convert_to_numpy(keras.ops.cast(model(inputs(kind)), "float32"))


CHANGED = {
    "language_model": {"tie_head": False, "pad_id": 3, "embeddings_initializer": "uniform"},
    "classifier": {"pad_id": 3, "norm": keras.layers.LayerNormalization()},
    "seq2seq": {
        "tie_head": False,
        "share_embeddings": False,
        "num_decoder_layers": 1,
        "decoder_moe_every": 1,
        "pad_id": 3,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_config_survives_json(kind):
    model = make(kind, name="mine", dropout=0.25, max_length=99, moe_every=1, **CHANGED[kind])
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(copy.deepcopy(config))
    assert json.loads(json.dumps(again.get_config())) == config
    assert again.name == "mine"
    shapes = [
        [(weight.path, weight.shape) for weight in each.trainable_weights]
        for each in (model, again)
    ]
    assert shapes[0] == shapes[1]


def test_an_optimizers_state_is_saved_too(tmp_path):
    model = make(random=False, **SHORT)
    steps(model, "language_model", 3, jit_compile=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    nexts = [
        float(m.train_on_batch(tokens(), tokens(seed=5), return_dict=True)["loss"])
        for m in (model, loaded)
    ]
    assert nexts[0] == pytest.approx(nexts[1], rel=1e-6)


# === Dense baselines ===


def test_a_dense_baseline_of_other_mixtures():
    soft = MoE(SoftmaxRouter(), FeedForwardExperts(E, F))
    model = TransformerLanguageModel(V, D, 2, Attention(2, 6), mixture(), soft)
    dense = model.dense_baseline()
    assert not [x for x in dense._flatten_layers() if isinstance(x, MoE)]
    assert [x.feed_forward.hidden_dim for x in dense.decoder.blocks] == [F, E * F]
    counts = count_parameters(make(moe=MoE(SoftmaxRouter(), FeedForwardExperts(E, F))))
    assert counts.active == counts.total  # every expert computes every token
    model = make(moe=MoE(SwitchRouter(), MLPExperts(E, (4, D))))
    with pytest.raises(ValueError, match="Received: MLPExperts"):
        model.dense_baseline()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dense_baseline_multiplies_as_often(kind):
    """Per token the weights that it meets: those of K experts, and not the router's E * D."""
    moe = MoE(GShardRouter(top_k=2), FeedForwardExperts(E, F, use_bias=False))
    model = make(kind, moe=moe, random=False)
    dense = model.dense_baseline()
    assert type(dense) is type(model)
    assert dense(inputs(kind)).shape == model(inputs(kind)).shape
    sparse = 2 if kind == "seq2seq" else 1  # blocks
    experts = E * 2 * D * F * sparse
    chosen = 2 * 2 * D * F * sparse
    routers = E * D * sparse
    assert size(dense) == size(model) - experts + chosen - routers
    assert size(dense.dense_baseline()) == size(dense)


def size(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    ("experts", "kind"), [(FeedForwardExperts, FeedForward), (GatedExperts, GatedFeedForward)]
)
def test_the_layer_of_a_twin_has_the_experts_options(experts, kind):
    options = {"activation": "tanh", "use_bias": True, "dropout": 0.25, "dtype": "mixed_bfloat16"}
    layer = dense_layer_like(MoE(GShardRouter(), experts(E, F, **options)))
    assert type(layer) is kind and layer.hidden_dim == 2 * F
    assert layer.activation is keras.activations.tanh
    assert layer.use_bias and layer.dropout.rate == 0.25
    assert layer.dtype_policy.name == "mixed_bfloat16"
