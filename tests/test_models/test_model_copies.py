"""Copies of the models, as Keras makes them of any model."""

import copy
import pickle

import keras
import numpy as np
import pytest

from moe_zoo.models import LSTMLanguageModel
from moe_zoo.models.recommender.tasks import BinaryTask
from moe_zoo.models.text.lstm_blocks import mixture_block
from small_recommender import small
from small_transformers import KINDS, SHORT, inputs, make, tokens


def lstm_language_model():
    return LSTMLanguageModel(23, 4, [mixture_block(num_experts=3, hidden_dim=5, top_k=2)])


FUNCTIONAL = {
    "lstm": (lstm_language_model, tokens),
    **{kind: (lambda k=kind: make(k, **SHORT), lambda k=kind: inputs(k)) for kind in KINDS},
}


WAYS = {
    "plain": lambda model: {},
    "the same layers": lambda model: {"clone_function": lambda layer: layer},
    "new layers": lambda model: {"clone_function": lambda x: type(x).from_config(x.get_config())},
    "other things": lambda model: {"clone_function": lambda layer: lambda *x, **y: layer(*x, **y)},
    "other calls": lambda model: {"call_function": lambda layer, *x, **y: layer(*x, **y)},
    "recursive": lambda model: {"recursive": True},
    "inputs": lambda model: {
        "input_tensors": keras.tree.map_structure(
            lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype), model.input
        )
    },
}


def classes_that_keras_changes(model_class):
    """The class and its bases up to `keras.Model`, by every way, in Keras' order."""
    bases = [base for base in model_class.__bases__ if issubclass(base, keras.Model)]
    mixins = [base for base in bases if not base.__module__.startswith("keras.")]
    return [model_class, *(x for base in mixins for x in classes_that_keras_changes(base))]


@pytest.mark.parametrize("kind", FUNCTIONAL)
def test_the_first_functional_model_of_a_process_can_be_made(kind):
    """Keras changes bases in place and fails where it comes to a class twice, but only then."""
    classes = classes_that_keras_changes(type(FUNCTIONAL[kind][0]()))
    assert len(classes) == len(set(classes)) > 2, classes


@pytest.mark.parametrize("kind", FUNCTIONAL)
def test_functional_models_are_copied_as_a_whole(kind):
    make_model, make_inputs = FUNCTIONAL[kind]
    model = make_model()
    name = type(model).__name__
    refused = rf"{name} to be copied as a whole. Received: '{model.name}"
    for way in WAYS.values():
        with pytest.raises(ValueError, match=refused):
            keras.models.clone_model(model, **way(model))
    outer = keras.Model(model.input, keras.layers.Softmax()(model(model.input)))
    with pytest.raises(ValueError, match=refused):
        keras.models.clone_model(outer, recursive=True)
    assert isinstance(keras.models.clone_model(outer).get_layer(model.name), type(model))
    alike = model.from_config(model.get_config())
    assert type(alike) is type(model) and alike.get_config() == model.get_config()
    same = copy.deepcopy(model)
    assert type(same) is type(model) and same.weights[0] is not model.weights[0]
    np.testing.assert_array_equal(same(make_inputs()), model(make_inputs()))


def test_the_layers_of_a_functional_model_can_still_be_used_otherwise():
    model = lstm_language_model()
    inner = keras.Model(model.input, model.get_layer("lstm_in").output)
    nested = keras.models.clone_model(keras.Sequential([model, keras.layers.Softmax()]))
    assert isinstance(nested.layers[0], LSTMLanguageModel)
    assert inner.weights[0] is model.weights[0]
    assert inner(tokens()).shape == (*tokens().shape, 4)
    # By way of the graph, since another length is not that of the model's input.
    assert model(keras.Input((7,), dtype="int32")).shape == (None, 7, 23)


@pytest.mark.parametrize("part", ["recommender", "core"])
def test_recommenders_are_cloned_and_pickled(part):
    model = small([BinaryTask("click")])
    model = model if part == "recommender" else model.core
    x = {"x": np.array([1.0, -2.0], "float32")}
    clone = keras.models.clone_model(model)
    assert type(clone) is type(model) and clone.get_config() == model.get_config()
    for way in ("the same layers", "other calls"):
        with pytest.raises(ValueError, match="only supported for .*Functional"):
            keras.models.clone_model(model, **WAYS[way](model))
    same = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(same(x)["click"], model(x)["click"])
