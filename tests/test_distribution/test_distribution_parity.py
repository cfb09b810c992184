"""A model on a mesh learns what it learns on one device, to rounding."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import nightly_but
from mesh_models import (
    BATCH,
    MODELS,
    OPTIMIZERS,
    ROUTERS,
    STEPS,
    TASK_MODELS,
    TEXT_MODELS,
    Losses,
    compiled,
    functional,
    task_rows,
    tokens,
    train,
    transformer_language_model,
)
from moe_zoo.distribution import ExpertParallel

pytestmark = pytest.mark.slow

MESHES = ["expert=2", "expert=4", "expert=8", "batch=2,expert=4"]
SPREAD, WHOLE = {}, {"batch_axis": None}  # the batch
USED = ["sgd", "adam", "adamw", "adafactor"]
TOLERANCE = 1e-5  # of losses near 4: rounding differs with the order of sums


@functools.cache
def alone(model, optimizer):
    """Losses on one device."""
    return train(compiled(MODELS[model], optimizer))


def pairs():
    """A model on every mesh, the others on two; optimizers and placements of batches take turns."""
    for i, model in enumerate(MODELS):
        for j, mesh in enumerate(MESHES):
            if i == 0 or (i + j) % 2:
                optimizer = USED[(i + j) % len(USED)]
                yield model, mesh, optimizer, WHOLE if (i + j // 2) % 3 == 0 else SPREAD


def one_each():
    """One of the pairs of each model, on all meshes in turn; the others are for the night."""
    models = list(MODELS)
    return [
        pair for pair in pairs() if pair[1] == MESHES[(models.index(pair[0]) + 1) % len(MESHES)]
    ]


def pytest_generate_tests(metafunc):
    """Pairs, or with `--exhaustive` all combinations of model, mesh, optimizer and placement."""
    exhaustive = metafunc.config.getoption("exhaustive")
    names = ["model", "mesh", "optimizer", "batch"]
    if metafunc.definition.name == "test_models":
        cases = list(pairs())
        if exhaustive:
            cases = list(itertools.product(MODELS, MESHES, USED, (SPREAD, WHOLE)))
        ids = ["-".join([*case[:3], "whole" if case[3] else "spread"]) for case in cases]
        metafunc.parametrize(names, nightly_but(one_each(), cases), ids=ids)
    elif metafunc.definition.name == "test_routers":
        meshes = ["expert=4", "batch=2,expert=4"]
        cases = [(router, meshes[i % 2]) for i, router in enumerate(ROUTERS)]
        if exhaustive:
            cases = list(itertools.product(ROUTERS, meshes))
        metafunc.parametrize(
            ["router", "mesh"],
            nightly_but([case for case in cases if case[0] in ("gshard", "noisy_top_k")], cases),
        )


def test_models(model, mesh, optimizer, batch):
    expected = alone(model, optimizer)
    distributed = compiled(MODELS[model], optimizer)
    ExpertParallel(mesh, **batch).distribute(distributed)
    np.testing.assert_allclose(train(distributed), expected, rtol=0, atol=TOLERANCE)
    assert len(expected) == STEPS
    assert expected[-1] < expected[0] - 100 * TOLERANCE  # standing still would prove nothing


def test_all_are_tried():
    assert [model for model, _, _, _ in one_each()] == list(MODELS)
    assert {mesh for _, mesh, _, _ in one_each()} == set(MESHES)
    tried = list(pairs())
    assert {model for model, _, _, _ in tried} == set(MODELS)
    for batch in (SPREAD, WHOLE):
        assert {mesh for _, mesh, _, placed in tried if placed == batch} == set(MESHES)
    assert {optimizer for _, _, optimizer, _ in tried} == set(USED)


def test_routers(router, mesh):
    make = functools.partial(functional, router)
    expected = train(compiled(make), 5)
    distributed = compiled(make)
    ExpertParallel(mesh).distribute(distributed)
    np.testing.assert_allclose(train(distributed, 5), expected, rtol=0, atol=TOLERANCE)


@functools.cache
def tasks_alone(model):
    """Losses of a model for several tasks on one device."""
    return train(compiled(TASK_MODELS[model], loss="mse"), data=task_rows)


def task_pairs():
    """MMoE on all meshes, the others on one each."""
    meshes = ["expert=2", "expert=4", "batch=2,expert=4"]
    for i, model in enumerate(TASK_MODELS):
        for mesh in meshes if model == "mmoe" else [meshes[i % 3]]:
            yield pytest.param(model, mesh, id=f"{model}-{mesh}")


@pytest.mark.parametrize(("model", "mesh"), list(task_pairs()))
def test_models_for_several_tasks(model, mesh):
    expected = tasks_alone(model)
    distributed = compiled(TASK_MODELS[model], loss="mse")
    ExpertParallel(mesh).distribute(distributed)
    np.testing.assert_allclose(train(distributed, data=task_rows), expected, rtol=0, atol=TOLERANCE)
    assert expected[-1] < expected[0] - 100 * TOLERANCE


@pytest.mark.parametrize(
    ("model", "mesh"),
    [
        ("transformer_classifier", "expert=4"),
        ("transformer_seq2seq", "batch=2,expert=2"),
    ],
)
def test_models_of_texts(model, mesh):
    make, data = TEXT_MODELS[model]
    expected = train(compiled(make), data=data)
    distributed = compiled(make)
    ExpertParallel(mesh).distribute(distributed)
    np.testing.assert_allclose(train(distributed, data=data), expected, rtol=0, atol=TOLERANCE)
    assert expected[-1] < expected[0] - 100 * TOLERANCE


@pytest.mark.parametrize(
    ("make", "name"), [(functional, "moe"), (transformer_language_model, "block_0")]
)
def test_recomputed_activations(make, name):
    def recomputed():
        with keras.RematScope(mode="list_of_layers", layer_names=[name]):
            return make()

    expected = train(compiled(make))
    distributed = compiled(recomputed)
    ExpertParallel("batch=2,expert=4").distribute(distributed)
    np.testing.assert_allclose(train(distributed), expected, rtol=0, atol=TOLERANCE)
    assert name in [layer.name for layer in distributed._flatten_layers()]


@pytest.mark.parametrize("router", ["switch", "gshard", "noisy_top_k"])
def test_batches_of_several_shapes(router):
    """A graph that knows neither rows nor tokens of a batch, as those of the text recipes."""

    def batches(model):
        given, labels = tokens(2)
        parts = [(given[:BATCH], labels[:BATCH]), (given[BATCH:, :6], labels[BATCH:, :6])]
        spec = (tf.TensorSpec([None, None], tf.int32),) * 2
        data = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)
        losses = Losses()
        model.fit(
            data.repeat(),
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
            callbacks=[losses],
        )
        return np.array(losses.values)

    make = functools.partial(transformer_language_model, router)
    expected = batches(compiled(make))
    distributed = compiled(make)
    ExpertParallel("expert=2").distribute(distributed)
    np.testing.assert_allclose(batches(distributed), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS.keys() - {"sgd", "adam", "adamw"}))
def test_optimizers_with_factored_slots(optimizer):
    expected = alone("functional", optimizer)
    distributed = compiled(functional, optimizer)
    ExpertParallel("expert=4").distribute(distributed)
    np.testing.assert_allclose(train(distributed), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(precision):
    expected = train(compiled(functional, precision=precision))
    distributed = compiled(functional, precision=precision)
    ExpertParallel("expert=4").distribute(distributed)
    # Half precision rounds to 8 (bfloat16) or 11 bits, and a token may go to another expert.
    np.testing.assert_allclose(train(distributed), expected, rtol=0, atol=5e-3)


def test_one_group_of_all_becomes_one_of_each_device():
    """Without `group_size` each device routes its own tokens, as a group of that size would."""
    groups = BATCH * 12 // 4

    def make(group_size):
        model = functional()
        model.layers[3].group_size = group_size
        return model

    expected = train(compiled(functools.partial(make, groups)), 5)
    distributed = compiled(functools.partial(make, None))
    assert distributed.layers[3].name.startswith("moe")
    ExpertParallel("expert=4").distribute(distributed)
    np.testing.assert_allclose(train(distributed, 5), expected, rtol=0, atol=TOLERANCE)
