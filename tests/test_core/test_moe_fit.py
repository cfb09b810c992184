"""The MoE layer through `fit`: precision, XLA, losses, and saving."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from layer_test import MadeAnew, run_layer_test
from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from small_moe import ROUTERS, D, E, F, moe, normal, randomize_built

# === fit ===


def model_of(*layers, **compile_kwargs):
    """A model of MoE layers side by side on [B, 4, D]. One with all routers saves many traces."""
    inputs = keras.Input((4, D))
    outputs = keras.layers.Add()([inputs, *(layer(inputs) for layer in layers)])
    model = keras.Model(inputs, keras.layers.Dense(1)(outputs))
    model.compile("adam", "mse", **compile_kwargs)
    return model


def all_routers(**kwargs):
    experts = itertools.cycle([FeedForwardExperts, GatedExperts])
    return [
        moe(
            router_class(z_loss_weight=0.1, **kwargs),
            experts_class(E, F, dropout=0.1),
            group_size=9,
        )
        for router_class, experts_class in zip(ROUTERS, experts, strict=False)
    ]


DATA = np.random.default_rng(0).normal(size=(14, 4, D)).astype("float32"), np.ones((14, 4, 1))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_fit_in_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    layers = all_routers()
    model = model_of(*layers)
    before = [w.numpy() for w in model.trainable_weights]
    history = model.fit(*DATA, batch_size=7, epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert weight.dtype == "float32" and np.all(np.isfinite(weight))
        assert np.any(weight.numpy() != old), weight.path
    half = policy.removeprefix("mixed_")
    for layer in layers:
        assert layer(tf.cast(DATA[0], half), training=True).dtype == half
        assert all(loss.dtype == tf.float32 for loss in layer.losses)


def test_fit_compiled_by_xla():
    model = model_of(moe(NoisyTopKRouter(z_loss_weight=0.1), group_size=9), jit_compile=True)
    history = model.fit(*DATA, batch_size=7, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("router_class", ROUTERS)
def test_xla_computes_the_same(router_class):
    layer = randomize_built(moe(router_class(), group_size=9))
    compiled = tf.function(lambda x: layer(x, training=False), jit_compile=True)
    x = normal(2, 11, D)
    np.testing.assert_allclose(compiled(x), layer(x, training=False), atol=1e-5)


def test_dropless_layers_keep_keras_from_choosing_xla():
    for router, supported in (
        (SwitchRouter(), True),
        (SwitchRouter(capacity_factor=None), False),
        (SwitchRouter(eval_capacity_factor=None), False),
        (SoftmaxRouter(), True),
    ):
        assert moe(router).supports_jit == supported


@pytest.mark.slow
def test_fit_without_capacity():
    model = model_of(moe(SwitchRouter(capacity_factor=None, eval_capacity_factor=None)))
    history = model.fit(*DATA, batch_size=5, validation_data=DATA, verbose=0)
    assert np.isfinite(history.history["loss"][0] + history.history["val_loss"][0])


@pytest.mark.parametrize("router_class", ROUTERS)
def test_losses_are_added_in_training_only(router_class):
    layer = moe(router_class(z_loss_weight=0.1))
    x = normal(2, 11, D)
    for training in (False, None):
        layer(x, training=training)
        assert layer.losses == []
    layer(x, training=True)
    assert len(layer.losses) == len(layer.router.active_losses())


# === Saving ===


def test_saved_and_loaded_models_are_equal(tmp_path):
    layers = all_routers(jitter=0.1, seed=3)
    model = model_of(*layers)
    model.fit(*DATA, batch_size=7, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(DATA[0]), model(DATA[0]))
    copies = [part for part in loaded.layers if isinstance(part, MoE)]
    for layer, copy in zip(layers, copies, strict=True):
        assert json.loads(json.dumps(copy.get_config())) == json.loads(
            json.dumps(layer.get_config())
        )
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = keras.models.clone_model(model)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh(DATA[0]), model(DATA[0]))


@pytest.mark.parametrize("suffix", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize("source", ["router", "expert dropout"])
def test_the_seeds_go_on_where_they_stood(source, suffix, tmp_path):
    """After loading, the next random step is the one that the saved model would have made."""
    noisy = source == "router"
    router = NoisyTopKRouter() if noisy else SwitchRouter(jitter=0.0)
    layer = moe(router, FeedForwardExperts(E, F, dropout=0.0 if noisy else 0.5))
    model = keras.Sequential([keras.Input((4, D)), layer])
    model(DATA[0], training=True)
    path = tmp_path / suffix
    if suffix == "model.keras":
        model.save(path)
        loaded = keras.models.load_model(path)
    else:
        model.save_weights(path)
        loaded = keras.models.clone_model(model)
        loaded.load_weights(path)
    for _ in range(2):
        np.testing.assert_array_equal(model(DATA[0], training=True), loaded(DATA[0], training=True))


def test_two_layers_from_one_configuration_share_nothing():
    config = moe(SwitchRouter()).get_config()
    one, two = MoE.from_config(config), MoE.from_config(config)
    assert one.router is not two.router and one.experts is not two.experts


@pytest.mark.parametrize("router_class", ROUTERS)
def test_configuration_round_trip(router_class):
    layer = moe(router_class(z_loss_weight=0.2, seed=5), group_size=9, name="mixture")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    revived = keras.saving.deserialize_keras_object(config)
    assert revived.get_config() == layer.get_config()
    assert type(revived.router) is router_class and revived.router.z_loss_weight == 0.2


@pytest.mark.parametrize("router_class", ROUTERS)
@pytest.mark.parametrize("experts_class", [FeedForwardExperts, GatedExperts])
def test_keras_layer_test(router_class, experts_class):
    # The kernel (noisy top-k has two) and the experts' two kernels and biases, or three kernels.
    # Not trained: the router's seed, the dropout's seed, and the statistics.
    count = 1 + (router_class is NoisyTopKRouter)
    run_layer_test(
        MoE,
        MadeAnew(
            router=lambda: router_class(seed=1),
            experts=lambda: experts_class(E, F, output_dim=2, dropout=0.1),
            group_size=lambda: 4,
        ),
        input_shape=(2, 7, D),
        expected_output_shape=(2, 7, 2),
        expected_num_trainable_weights=count + (4 if experts_class is FeedForwardExperts else 3),
        expected_num_seed_generators=2,
        expected_num_losses=None,
        supports_masking=True,
        run_training_check=False,  # it gives `fit` a generator, of which Keras warns
    )
