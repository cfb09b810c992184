"""Two replicas that are given the same rows do what one does alone."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mesh_models
from conftest import nightly_but, slow_but
from mesh_models import MODELS, ROUTERS, TASK_MODELS, TEXT_MODELS, task_rows, tokens
from moe_zoo import routing_stats
from moe_zoo.experts import MLPExperts
from moe_zoo.gates import NoisyTopKGate
from moe_zoo.layers import MMoE, SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Category, RowEmbedding
from moe_zoo.models.recommender.tasks import BinaryTask
from moe_zoo.training.optim.lazy_adam import LazyAdam
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
        order = np.arange(len(x) // batch * batch).reshape(-1, 1, batch)
        order = np.repeat(order, replicas, 1).ravel()
        return [x[i] for i in order] if isinstance(x, list) else np.asarray(x)[order]

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


def recommender(uncertainty_weights=False):
    gate = NoisyTopKGate(2, importance_loss_weight=1.0, load_loss_weight=1.0, seed=1)
    mixing = MMoE(MLPExperts(4, (8,), dropout=0.2), gate)
    model = MultiTaskRecommender(
        features(), tasks(), mixing, uncertainty_weights=uncertainty_weights
    )
    model.adapt(table())
    return model


@pytest.mark.slow
@pytest.mark.parametrize("uncertainty_weights", nightly_but([True], [False, True]))
def test_the_recommender(uncertainty_weights):
    def make():
        model = recommender(uncertainty_weights)
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        return model

    compare(make, table(), labels(), batch=16)


def test_a_recommender_takes_strings():
    """Of whose batches Keras cannot take a mean."""
    x = {"city": ["Rome", "Oslo", "Rome", "Bath"]}
    y = {"click": [0, 1, 1, 0]}

    def results(replicas):
        keras.utils.set_random_seed(0)
        with on(replicas):
            columns = {"city": Category(embedding_dim=3)}
            model = MultiTaskRecommender(columns, [BinaryTask("click")], SharedBottom((2,)))
            model.adapt(x)
            model.compile(jit_compile=False)
        return model.evaluate(x, y, return_dict=True, verbose=0)

    assert results(2) == pytest.approx(results(1))


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

    x = {name: tf.ragged.constant(column[:16]) for name, column in table().items()}
    y = {name: tf.constant(column[:16]) for name, column in labels().items()}
    found, expected = losses_and_gradients(2), losses_and_gradients(1)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(a), tf.convert_to_tensor(b), atol=1e-5)


@pytest.mark.parametrize(
    "embedding", slow_but([RowEmbedding], [RowEmbedding, keras.layers.Embedding])
)
def test_lazy_adam_adds_sparse_gradients(embedding):
    """Of replicas that share some rows of the table: as one that is given the whole batch."""
    rows, steps, replicas = 11, 3, 2
    x = np.random.default_rng(0).integers(0, rows - 1, [steps, replicas, 5])  # never the last row
    y = np.sin(np.arange(x.size))[:, None]

    def results(replicas):
        keras.utils.set_random_seed(0)
        with on(replicas):
            inputs = keras.Input([], dtype="int32")
            outputs = keras.layers.Dense(1)(embedding(rows, 3)(inputs))
            model = keras.Model(inputs, outputs)
            model.compile(LazyAdam(0.05, epsilon=1e-3), "mse", jit_compile=False)
        start = model.get_weights()[0]
        model.fit(x.ravel(), y, x[0].size, epochs=2, shuffle=False, verbose=0)
        variables = [w.value for w in model.weights + model.optimizer.variables]
        return start, [[v.numpy() for v in getattr(w, "values", [w])] for w in variables]

    (start, found), (_, expected) = results(replicas), results(1)
    for copies, (value,) in zip(found, expected, strict=True):
        assert len(copies) == replicas
        for copy in copies:
            np.testing.assert_allclose(copy, value, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found[0][0][-1], start[-1])


def recomputed():
    with keras.RematScope(mode="list_of_layers", layer_names=["block_0"]):
        return mesh_models.transformer_language_model()


CASES = {
    "recomputed": (recomputed, tokens),
    **{name: (functools.partial(mesh_models.functional, name), tokens) for name in ROUTERS},
    **{name: (make, tokens) for name, make in MODELS.items()},
    **TEXT_MODELS,
    **{name: (make, task_rows) for name, make in TASK_MODELS.items()},
}


KEPT = {
    *("recomputed", "gshard", "lstm_language_model", "transformer_language_model"),
    *("transformer_seq2seq", "mmoe"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", nightly_but(KEPT, CASES))
def test_models(name):
    def make():
        model = build()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = "mse" if name in TASK_MODELS else loss
        model.compile(keras.optimizers.SGD(0.03), loss, jit_compile=False)
        return model

    build, data = CASES[name]
    compare(make, *data(3))
