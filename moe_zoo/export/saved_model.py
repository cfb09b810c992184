"""SavedModels: folders that serve a model without this library."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.files import check_place, new_folder
from moe_zoo.files.digests import DIGESTS, check_digests, write_digests
from moe_zoo.routers import Router
from moe_zoo.validation import shown

ENDPOINTS = "endpoints.json"  # docstrings of the endpoints, and the id that pads rows
PARTS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", DIGESTS, ENDPOINTS}


@contextlib.contextmanager
def serving_mode(model: keras.Model) -> Iterator[None]:
    """Set a model up as it should be served, within this context.

    Routers are dropless, so that an output does not depend on what else is in the batch, and LSTMs
    and GRUs run on the portable kernel: one that was traced for a GPU cannot be served on a CPU.
    XLA is off, which cannot compute a dropless mixture.

    Args:
        model: the Keras model.
    """
    xla = getattr(model, "compiled", False) and model.jit_compile
    if xla:
        model.jit_compile = False
    _forget_graphs(model)
    try:
        with _serving_settings(model):
            yield
    finally:
        _forget_graphs(model)
        if xla:
            model.jit_compile = True


@contextlib.contextmanager
def _serving_settings(model: keras.Model) -> Iterator[None]:
    """Do as `serving_mode` for functions that are traced within this context."""
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if isinstance(layer, Router):
                stack.enter_context(layer.serving())
            elif hasattr(layer, "use_cudnn"):
                stack.callback(setattr, layer, "use_cudnn", layer.use_cudnn)
                layer.use_cudnn = False
        yield


def _forget_graphs(model: keras.Model) -> None:
    """Let `evaluate` and `predict` trace anew: their graphs hold the capacities of before."""
    if isinstance(model, keras.Model):
        model.test_function = model.predict_function = None


class NoUpdates(keras.StatelessScope):
    """A scope in which Keras' variables keep their values, whatever is assigned to them."""

    def __init__(self) -> None:
        super().__init__(initialize_variables=False)

    def add_update(self, update: Any) -> None:
        pass


def endpoint(model: keras.Model, function: Callable, *signature: Any) -> tf.function:
    """Make an endpoint of a function that calls a model.

    It runs the model as `serving_mode` does, and leaves variables as they are, such as counts for
    statistics. (That `training` is not given would not be enough: a layer before, such as
    `Dropout`, makes it false for all that follow.)

    Args:
        model: the Keras model.
        function: `Callable` whose arguments are tensors. Its docstring, the names of its arguments
            and their default values are those of the endpoint.
        *signature: `tf.TensorSpec` of each argument, or a nest of these.

    Returns:
        `tf.function`.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    >>> def scaled(inputs, factor=2.0):
    ...     return factor * model(inputs)
    >>> specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([])]
    >>> tuple(endpoint(model, scaled, *specs)(tf.ones([3, 2])).shape)
    (3, 1)
    """

    @functools.wraps(function)
    def served(*args: Any, **kwargs: Any) -> Any:
        with _serving_settings(model), NoUpdates():
            return function(*args, **kwargs)

    served.is_endpoint = True  # type: ignore[attr-defined]
    return tf.function(served, input_signature=signature, autograph=False)


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    endpoints: dict[str, tf.function] | None = None,
    track: Iterable[tf.Module] = (),
) -> None:
    """Write a SavedModel of any Keras model that a process without moe_zoo can load.

    Its routing is dropless. The folder appears when it is complete, and takes the place of an
    earlier SavedModel in one step; `digests.json` in it holds the digests of its files. A link is
    followed. Models of the zoo have `model.export(folder)`, which writes all of their endpoints.
    For other models use this in place of `model.export`, which keeps the evaluation capacity, and
    where a Dropout or LSTM stands before an MoE layer, its counting of statistics too.

    Args:
        model: a built Keras model.
        path: `str` or path, the folder to write.
        endpoints: `dict` of `tf.function` by name, each with an `input_signature`; `None` for
            `serve`, the model's own call. The first one becomes the default signature.
        track: further `tf.Module`s that the endpoints use, such as a tokenizer.

    Raises:
        ValueError: If `path` exists and is not a SavedModel alone, or the model is not built.
        OSError: If `path` cannot be written.

    Example:

    >>> import tempfile
    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> mixture = MoE(SwitchRouter(), FeedForwardExperts(4, 16))
    >>> model = keras.Sequential([keras.Input((8,)), mixture])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_saved_model(model, f"{folder}/served")
    ...     served = tf.saved_model.load(f"{folder}/served")
    ...     tuple(served.serve(tf.ones([3, 8])).shape)
    (3, 8)
    """
    check_new_or_saved_model(path)
    if not model.built:
        raise ValueError(
            f"Expected a built model. Received: {shown(model.name)}, which has no weights yet. "
            "Call it on a batch first."
        )
    if endpoints is None:
        call = tf.function(lambda inputs: model(inputs), input_signature=[_signature(model)])
        endpoints = {"serve": call}
    archive = keras.export.ExportArchive()
    for module in (model, *track):
        archive.track(module)
    for name, function in endpoints.items():
        if getattr(function, "input_signature", None) is None:
            raise ValueError(
                f"Expected endpoints that are tf.functions with an input_signature. Received: "
                f"{name}={shown(function)}. Make it with moe_zoo.export.endpoint."
            )
        python_function = function.python_function
        if not hasattr(python_function, "is_endpoint"):  # let AutoGraph convert its branches
            python_function = tf.function(python_function)
        archive.add_endpoint(name, endpoint(model, python_function, *function.input_signature))
    texts = {name: function.python_function.__doc__ for name, function in endpoints.items()}
    about = {"endpoints": texts, "pad_id": getattr(model, "pad_id", None)}
    with serving_mode(model):
        try:
            with new_folder(path) as folder:
                archive.write_out(str(folder), verbose=False)
                (folder / ENDPOINTS).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
                write_digests(folder)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"The SavedModel could not be written to {shown(str(path))}: {error}. Choose "
                "another folder, or make room."
            ) from error


def check_new_or_saved_model(path: str | os.PathLike) -> None:
    """Refuse a path for a SavedModel where something else would be lost.

    Args:
        path: `str` or path, the folder to write.

    Raises:
        ValueError: If there is something else than an empty folder or an earlier SavedModel.
    """
    place = check_place(path, folder=True)
    held = {x.name for x in place.iterdir()} if place.exists() else set()
    others = held if "saved_model.pb" not in held else held - PARTS
    if others:
        raise ValueError(
            f"Expected a new folder or an earlier SavedModel. Received: path={shown(str(path))}, "
            f"which holds other files. Choose another folder, or move {shown(min(others))} away."
        )


def check_saved_model(path: str | os.PathLike) -> None:
    """Refuse a folder that is no SavedModel, or not as it was written.

    Args:
        path: `str` or path of the folder.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If one of its files was changed since this library wrote it.
    """
    if not Path(path, "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"Expected a SavedModel. Received: path={shown(str(path))}, which has no "
            "saved_model.pb. Write one with model.export(path) or moe-zoo export."
        )
    if Path(path, DIGESTS).exists():  # others are not of this library
        try:
            check_digests(path)
        except ValueError as error:
            raise ValueError(
                f"Expected a whole SavedModel. Received: path={shown(str(path))}: {error}. Restore "
                "it, or write it again, by model.export(path), moe-zoo export or the command that "
                "trained it."
            ) from error


def _signature(model: keras.Model) -> Any:
    """Return the specification of a model's input with an unknown batch size."""
    if not (isinstance(model, keras.Sequential) or hasattr(model, "input")):
        raise ValueError(
            f"Expected a functional or sequential model. Received: {shown(model.name)}, whose "
            "input has no known shape. Give its `endpoints`."
        )
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype, x.name), inputs
    )
