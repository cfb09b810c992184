"""A model as it is written to files that run outside of TensorFlow."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.models.recommender.core import RecommenderCore
from moe_zoo.models.recommender.task_model import TaskModel
from moe_zoo.validation import shown

ROWS, LENGTH = 3, 5  # of the inputs that a file is tried with


class PortableForm(NamedTuple):
    """What goes in and out of a file.

    Fields:
        specs: `dict` of `tf.TensorSpec`, the inputs, by the names that the model knows them by.
        outputs: list of `str`, names of what comes out.
        answer: function of the inputs, in this order, to a list of tensors.
        probe: `dict` of arrays, inputs that the model accepts.
    """

    specs: dict[str, tf.TensorSpec]
    outputs: list[str]
    answer: Callable
    probe: dict[str, np.ndarray]


def portable_form(model, place):
    """The `PortableForm` of a recommender, or of a functional model with any inputs, one output.

    Args:
        model: a built Keras model in float32.
        place: `str`, what runs the file, for messages.

    Raises:
        ValueError: a feature that nothing but TensorFlow has an operation for, a model in half
            precision, or one that is not functional.
    """
    if isinstance(model, TaskModel):
        check_features({} if isinstance(model, RecommenderCore) else model.features, place)
    elif not hasattr(model, "input"):
        raise ValueError(
            f"Expected a functional model or a recommender. Received: {shown(model.name)}, whose "
            f"inputs have no known shape, which {place} needs. Build it with keras.Input."
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"Expected a model in float32. Received: {shown(layer.path)} in "
                f"{layer.compute_dtype}. Make one with dtype='float32' and give it the weights by "
                "set_weights."
            )
    return _of_tasks(model) if isinstance(model, TaskModel) else _of_functional(model)


def check_features(features, place):
    """Raises ValueError if one of the raw features needs more than numbers."""
    for name, feature in features.items():
        if feature.onnx:
            raise ValueError(
                f"Expected features that {place} has operations for. Received: {shown(name)}, "
                f"{type(feature).__name__}, which needs {feature.onnx}. Export `model.core`, and "
                "give it what `model.encode` gives."
            )


def _of_tasks(model):
    specs = model.input_specs()
    tasks = [task.name for task in model.tasks]

    def answer(*columns):
        outputs = model(dict(zip(specs, columns, strict=True)))
        return [tf.identity(outputs[task]) for task in tasks]

    raw = not isinstance(model, RecommenderCore)
    some = [0.0, 1.0, np.nan if raw else -0.5]  # a raw number may be missing
    probe = {}
    for name, spec in specs.items():
        shape = [ROWS] + [2] * (spec.shape.rank - 1)
        numbers = np.resize(some, shape) if spec.dtype.is_floating else np.ones(shape)
        probe[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    return PortableForm(specs, tasks, answer, probe)


def _of_functional(model):
    inputs = keras.tree.flatten(model.input)
    specs = {x.name: tf.TensorSpec((None, *x.shape[1:]), x.dtype, x.name) for x in inputs}

    def answer(*columns):
        given = keras.tree.pack_sequence_as(model.input, list(columns))
        return [tf.identity(x) for x in keras.tree.flatten(model(given))]

    outputs = [x.name for x in keras.tree.flatten(model.output)]
    outputs = ["logits"] if len(outputs) == 1 else outputs
    limits = (getattr(layer, "max_length", None) for layer in model._flatten_layers())
    length = min([LENGTH, *filter(None, limits)])
    probe = {}
    for name, spec in specs.items():
        shape = [ROWS] + [length if size is None else size for size in spec.shape[1:]]
        numbers = np.arange(np.prod(shape)).reshape(shape)
        if spec.dtype.is_floating:
            numbers = np.cos(numbers)
        else:  # token ids, the last one of the first row padding
            numbers = 1 + numbers % max(getattr(model, "vocabulary_size", 2) - 1, 1)
            numbers.flat[shape[-1] - 1] = 0
        probe[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    return PortableForm(specs, outputs, answer, probe)


def compare(form, names, found):
    """Raises RuntimeError if a file's answers to the probe are not the model's.

    Args:
        form: `PortableForm`.
        names: `str`, what wrote the file, for the message.
        found: `dict` of arrays, the file's answers, by output.
    """
    wanted = form.answer(*(tf.constant(x) for x in form.probe.values()))
    for name, values in zip(form.outputs, wanted, strict=True):
        expected = keras.ops.convert_to_numpy(values)
        if found[name].shape != expected.shape or not np.allclose(
            found[name], expected, rtol=1e-4, atol=1e-5
        ):
            raise RuntimeError(
                f"Expected the file to answer as the model. Received: output {shown(name)}, "
                f"{found[name]} in place of {expected}. Please report this with the versions of "
                f"{names}."
            )
