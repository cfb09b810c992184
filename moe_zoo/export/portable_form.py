"""Models as they are written to files that run outside of TensorFlow."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.validation import shown

from .saved_model import NoUpdates

PROBE_ROWS, LENGTH = 3, 5  # of the inputs that a file is tried with


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


def portable_form(model: keras.Model, runtime: str) -> PortableForm:
    """Return the `PortableForm` of a functional model, or of one that makes its own.

    A model makes its own by a method `portable_form(runtime)`.

    Args:
        model: a built Keras model in float32.
        runtime: `str`, what runs the file, for messages.

    Raises:
        ValueError: If the model is in half precision, is not functional, or needs operations that
            only TensorFlow has.
    """
    if hasattr(model, "portable_form"):
        form = model.portable_form(runtime)
    elif hasattr(model, "input"):
        form = _of_functional(model)
    else:
        raise ValueError(
            f"Expected a functional model. Received: {shown(model.name)}, whose inputs have no "
            f"known shape, which {runtime} needs. Build it with keras.Input."
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"Expected a model in float32. Received: {shown(layer.path)} in "
                f"{layer.compute_dtype}. Make one with dtype='float32' and give it the weights by "
                "set_weights."
            )
    return form


def _of_functional(model: keras.Model) -> PortableForm:
    inputs = keras.tree.flatten(model.input)
    specs = {x.name: tf.TensorSpec((None, *x.shape[1:]), x.dtype, x.name) for x in inputs}

    def answer(*columns: tf.Tensor) -> list[tf.Tensor]:
        given = keras.tree.pack_sequence_as(model.input, list(columns))
        return [tf.identity(x) for x in keras.tree.flatten(model(given))]

    outputs = [x.name for x in keras.tree.flatten(model.output)]
    outputs = ["logits"] if len(outputs) == 1 else outputs
    limits = (getattr(layer, "max_length", None) for layer in model._flatten_layers())
    length = min([LENGTH, *filter(None, limits)])
    probe = {}
    for name, spec in specs.items():
        shape = [PROBE_ROWS] + [length if size is None else size for size in spec.shape[1:]]
        numbers = np.arange(np.prod(shape)).reshape(shape)
        if spec.dtype.is_floating:
            numbers = np.cos(numbers)
        else:  # token ids, the last one of the first row padding
            numbers = 1 + numbers % max(getattr(model, "vocabulary_size", 2) - 1, 1)
            numbers.flat[shape[-1] - 1] = 0
        probe[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    return PortableForm(specs, outputs, answer, probe)


def compare(form: PortableForm, names: str, found: dict[str, np.ndarray]) -> None:
    """Raise `RuntimeError` if a file's answers to the probe are not the model's.

    Args:
        form: `PortableForm`.
        names: `str`, what wrote the file, for the message.
        found: `dict` of arrays, the file's answers, by output.
    """
    with NoUpdates():
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
