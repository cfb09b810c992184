"""What a mesh cannot run is refused, by name and with advice."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from mesh_models import (
    BATCH,
    LENGTH,
    VOCABULARY,
    Subclassed,
    compiled,
    functional,
    lstm_language_model,
    parts_of,
    tokens,
)
from moe_zoo.distribution import ExpertParallel, virtual_devices
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models import LSTMLanguageModel, mixture_block
from moe_zoo.routers import NoisyTopKRouter, SwitchRouter
from moe_zoo.training.optim.lazy_adam import LazyAdam

X, Y = tokens(3)


def build(*layers):
    model = keras.Sequential([keras.Input((LENGTH, 16)), *layers])
    model.compile("sgd", "mse")
    return model


def switch(experts=8, group_size=None, **options):
    return MoE(SwitchRouter(**options), FeedForwardExperts(experts, 8), group_size=group_size)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(keras.layers.LSTM(16, return_sequences=True)), "unroll=False"),
        (lambda: build(keras.layers.GRU(16)), "unroll=True and inputs of a fixed length"),
        (
            lambda: build(keras.layers.Bidirectional(keras.layers.LSTM(4, unroll=True))),
            "a Bidirectional, whose reversal",
        ),
        (lambda: build(switch(capacity_factor=None)), "capacity_factor=None (dropless)"),
        (
            lambda: build(switch(eval_capacity_factor=None)),
            "eval_capacity_factor=None (dropless). Give it 1.25 or 2; with 8 nothing is ever",
        ),
        (lambda: build(switch(experts=6)), "expert=4 divides. Received: 'sequential/moe/feed"),
    ],
)
def test_models_that_a_mesh_cannot_run_are_refused(make, words):
    model = make()
    with pytest.raises(ValueError, match=".*") as caught:
        ExpertParallel("expert=4").distribute(model)
    assert words in str(caught.value)
    assert not any(isinstance(v._value, dtensor.DVariable) for v in model.variables)


def test_the_zoo_s_lstm_model_is_refused_with_its_own_advice():
    router = NoisyTopKRouter(top_k=2)
    model = LSTMLanguageModel(VOCABULARY, 16, [mixture_block(8, 16, 2, router=router)])
    with pytest.raises(ValueError, match="sequence_length"):
        ExpertParallel("expert=4").distribute(model)


@pytest.mark.parametrize(
    ("options", "words"), [({"run_eagerly": True}, "run_eagerly"), ({"jit_compile": True}, "XLA")]
)
def test_ways_to_run_that_a_mesh_does_not_have(options, words):
    model = build(switch())
    model.compile("sgd", "mse", **options)
    with pytest.raises(ValueError, match=words):
        ExpertParallel("expert=4").distribute(model)


def test_sparse_gradients_are_refused_before_anything_changes():
    model = build(switch())
    model.compile(LazyAdam(), "mse")
    with pytest.raises(ValueError, match="dense gradients.*Received: optimizer=lazy_adam"):
        ExpertParallel("expert=4").distribute(model)
    assert not hasattr(model, "expert_parallel")


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Where `jit_compile="auto"` becomes XLA, as Keras decides when there is a GPU."""
    monkeypatch.setattr(keras.Model, "_resolve_auto_jit_compile", lambda self: True)


def test_xla_that_keras_turned_on_by_itself_is_turned_off(as_on_a_gpu, tmp_path):
    model = build(switch())
    model.compile("sgd", "mse")
    assert model.jit_compile is True
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.jit_compile is True  # the file says no more than that
    for given in (model, loaded):
        parallel = ExpertParallel("expert=4")
        with pytest.warns(UserWarning, match=r"XLA is off for .* jit_compile=False"):
            parallel.distribute(given)
        assert given.jit_compile is False
        parallel.gather(given)


def test_xla_that_the_user_asked_for_is_refused(as_on_a_gpu):
    model = build(switch())
    model.compile("sgd", "mse", jit_compile=True)
    with pytest.raises(ValueError, match=r"without XLA. Received: jit_compile=True. Compile it"):
        ExpertParallel("expert=4").distribute(model)
    model.compile("sgd", "mse")  # and changed their mind
    with pytest.warns(UserWarning, match="XLA is off"):
        ExpertParallel("expert=4").distribute(model)


@pytest.mark.parametrize("option", ["jit_compile", "run_eagerly"])
def test_a_model_that_is_compiled_on_the_mesh(option, as_on_a_gpu):
    model = build(switch())
    with pytest.warns(UserWarning, match="XLA is off"):
        ExpertParallel("expert=4").distribute(model)
    model.compile("sgd", "mse", **{option: True})
    with pytest.raises(ValueError, match=f"Received: {option}=True"):
        model.make_train_function()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="XLA is off"):
        model.make_train_function()


@pytest.mark.parametrize(
    "text", ["", "expert", "expert=0", "expert=2,expert=2", "expert=2 x", "2", 2, None]
)
def test_axes_that_cannot_be_read(text):
    with pytest.raises(ValueError, match=rf"such as 'expert=4'.*Received: mesh={text!r}"):
        ExpertParallel(text)


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match=r"Expected 12 devices .* 8 CPU.*virtual_devices"):
        ExpertParallel("batch=3,expert=4")


def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="machine with a GPU. Received: device_type='GPU'"):
        ExpertParallel("expert=2", device_type="GPU")


def test_axes_that_the_mesh_does_not_have():
    with pytest.raises(ValueError, match=r"\(expert\). Received: batch_axis='data'"):
        ExpertParallel("expert=2", batch_axis="data")


def test_virtual_devices_after_tensorflow_has_started():
    tf.config.list_logical_devices()
    for count in (0, "4"):
        with pytest.raises(ValueError, match=f"Received: count={count!r}"):
            virtual_devices(count)
    with pytest.raises(RuntimeError, match="before TensorFlow starts"):
        virtual_devices(4)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"dens/kernel": ("expert",)}, "fit none of"),
        ({"dense/kernel": ("model",)}, "an axis of the mesh (expert)"),
        ({"dense/kernel": (None, "expert")}, "which is 50. Received: expert=4"),
        ({"dense/bias": (None, "expert")}, "at most 1 axes"),
    ],
)
def test_rules_that_do_not_fit(rules, words):
    model = compiled(functional)
    with pytest.raises(ValueError, match=".*") as caught:
        ExpertParallel("expert=4", rules=rules).distribute(model)
    assert words in str(caught.value)


def test_a_group_that_two_devices_would_share():
    model = build(switch(group_size=5))
    ExpertParallel("expert=4").distribute(model)
    data = np.zeros((BATCH, LENGTH, 16), "float32")
    with pytest.raises(ValueError, match="divides the tokens of one device, which are 48"):
        model.fit(data, data, batch_size=BATCH, verbose=0)


def test_a_batch_that_no_step_can_spread():
    model, parallel = compiled(functional), ExpertParallel("expert=4")
    parallel.distribute(model)
    with pytest.raises(ValueError, match="expert=4 divides. Received: a batch of 6"):
        model.fit(X[:12], Y[:12], batch_size=6, verbose=0)


def test_a_model_that_is_built_by_its_first_batch():
    model, parallel = compiled(Subclassed), ExpertParallel("expert=4")
    parallel.distribute(model)
    outputs = model.predict(X[:BATCH], batch_size=BATCH, verbose=0)
    assert outputs.shape == (BATCH, LENGTH, VOCABULARY)
    assert parts_of(model.mixtures[0].experts.kernel_in) == {(2, 16, 32)}


def test_the_lstm_model_for_any_length_again():
    model = lstm_language_model()
    free = model.for_any_length()
    np.testing.assert_allclose(free(X[:2]), model(X[:2]), atol=1e-5)
    assert tuple(free(X[:2, :5]).shape) == (2, 5, VOCABULARY)
