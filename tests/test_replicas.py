"""Two replicas that are given the same rows do what one does alone."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mesh_models
from mesh_models import MODELS, ROUTERS, TASK_MODELS, TEXT_MODELS, task_rows, tokens
from moe_zoo import routing_stats
from moe_zoo.experts import MLPExperts
from moe_zoo.gates import NoisyTopKGate
from moe_zoo.layers import MMoE
from moe_zoo.models import MultiTaskRecommender
from small_recommender import features, labels, table, tasks

BATCH = mesh_models.BATCH


def on(replicas):
    """The scope of a strategy of so many replicas, or none of one."""
    if replicas == 1:
        return contextlib.nullcontext()
    devices = [f"CPU:{i}" for i in range(replicas)]
    reduction = tf.distribute.ReductionToOneDevice()  # the default one cannot be made twice
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction).scope()


def repeated(data, replicas, batch):
    """Each batch as often as there are replicas."""

    def repeat(x):
        x = np.asarray(x)
        x = x[: len(x) // batch * batch].reshape(-1, 1, batch, *x.shape[1:])
        x = np.repeat(x, replicas, 1)
        return x.reshape(-1, *x.shape[3:])

    return {k: repeat(x) for k, x in data.items()} if isinstance(data, dict) else repeat(data)


def trained(make, x, y, replicas, batch=BATCH, **options):
    """Logs of `fit` and `evaluate`, weights, and statistics of a model that `make` compiles."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    with on(replicas):
        model = make()
        x, y = repeated(x, replicas, batch), repeated(y, replicas, batch)
        options = {"batch_size": batch * replicas, "verbose": 0, **options}
        logs = model.fit(x, y, shuffle=False, **options).history
        evaluated = model.evaluate(x, y, return_dict=True, **options)
    stats = [routing_stats(model, training) for training in (True, False)]
    return logs, evaluated, model.get_weights(), stats


def compare(make, x, y, **options):
    found, expected = (trained(make, x, y, replicas, **options) for replicas in (2, 1))
    for a, b in zip(found[:3], expected[:3], strict=True):
        for u, v in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-5)
    for a, b in zip(found[3], expected[3], strict=True):
        assert list(a) == list(b)
        for name in b:
            assert a[name].tokens == 2 * b[name].tokens  # of both replicas
            for field in ("load", "demand", "importance"):
                u, v = getattr(a[name], field), getattr(b[name], field)
                np.testing.assert_allclose(u, 2 * v, rtol=1e-4)
            assert a[name].losses == pytest.approx(b[name].losses, abs=1e-6)


def numbers():
    """The columns that Keras can take a mean of, as it does for a strategy: no strings."""
    return {name: x for name, x in table().items() if name not in ("job title", "tags")}


def recommender(uncertainty_weights=False):
    gate = NoisyTopKGate(2, importance_loss_weight=1.0, load_loss_weight=1.0, seed=1)
    mixing = MMoE(3, MLPExperts(4, (8,), dropout=0.2), gate)
    columns = {name: x for name, x in features().items() if name in numbers()}
    model = MultiTaskRecommender(columns, tasks(), mixing, uncertainty_weights=uncertainty_weights)
    model.adapt(numbers())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("uncertainty_weights", [False, True])
def test_the_recommender(uncertainty_weights):
    def make():
        model = recommender(uncertainty_weights)
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        return model

    compare(make, numbers(), labels(), batch=16)


def test_the_loss_of_the_recommender_in_a_custom_loop():
    def losses_and_gradients(replicas):
        keras.utils.set_random_seed(0)
        with on(replicas):
            model = recommender()
            model.compile("sgd")

        def step():
            with tf.GradientTape() as tape:
                outputs = model(x, training=True)
                loss = model.compute_loss(x, y, outputs)
            return loss, tape.gradient(loss, [w.value for w in model.trainable_weights])

        if replicas == 1:
            return step()
        given = model.distribute_strategy.run(tf.function(step))
        return tf.nest.map_structure(
            lambda value: model.distribute_strategy.reduce("SUM", value, axis=None), given
        )

    x = {name: tf.constant(column[:16]) for name, column in numbers().items()}
    y = {name: tf.constant(column[:16]) for name, column in labels().items()}
    found, expected = losses_and_gradients(2), losses_and_gradients(1)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(a), tf.convert_to_tensor(b), atol=1e-5)


CASES = {
    **{name: (functools.partial(mesh_models.functional, name), tokens) for name in ROUTERS},
    **{name: (make, tokens) for name, make in MODELS.items()},
    **TEXT_MODELS,
    **{name: (make, task_rows) for name, make in TASK_MODELS.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_models(name):
    def make():
        model = build()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = "mse" if name in TASK_MODELS else loss
        model.compile(keras.optimizers.SGD(0.03), loss, jit_compile=False)
        return model

    build, data = CASES[name]
    compare(make, *data(3))
