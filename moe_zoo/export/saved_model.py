"""SavedModels: files that serve a model without this library."""

import contextlib

import keras
import tensorflow as tf

from moe_zoo.files import check_place, new_folder
from moe_zoo.files.digests import DIGESTS, write_digests
from moe_zoo.routers import TokenChoiceRouter
from moe_zoo.validation import shown

PARTS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", DIGESTS}  # of a SavedModel


@contextlib.contextmanager
def serving_mode(model):
    """Within this context the model is as it should be served.

    Routers are dropless, so that an output does not depend on what else is in the batch, and LSTMs
    run on the portable kernel: one that was traced for a GPU cannot be served on a CPU. XLA is off,
    which cannot compute a dropless mixture.
    """
    routers = [x for x in model._flatten_layers() if isinstance(x, TokenChoiceRouter)]
    recurrent = [x for x in model._flatten_layers() if isinstance(x, keras.layers.LSTM)]
    before = [x.eval_capacity_factor for x in routers], [x.use_cudnn for x in recurrent]
    for router in routers:
        router.eval_capacity_factor = None
    for layer in recurrent:
        layer.use_cudnn = False
    xla = getattr(model, "compiled", False) and model.jit_compile
    if xla:
        model.jit_compile = False
    _forget_graphs(model)
    try:
        yield
    finally:
        _forget_graphs(model)
        for router, factor in zip(routers, before[0], strict=True):
            router.eval_capacity_factor = factor
        for layer, use_cudnn in zip(recurrent, before[1], strict=True):
            layer.use_cudnn = use_cudnn
        if xla:
            model.jit_compile = True


def _forget_graphs(model):
    """Let `evaluate` and `predict` trace anew: their graphs hold the capacities of before."""
    if isinstance(model, keras.Model):
        model.test_function = model.predict_function = None


def export_saved_model(model, path, endpoints=None, track=()):
    """Write a SavedModel that a process without moe_zoo can load, with dropless routing.

    The folder appears when it is complete, and takes the place of an earlier SavedModel in one
    step; `digests.json` in it holds the digests of its files. A link is followed. Use this
    in place of `model.export`, which keeps the evaluation capacity, and where a Dropout or LSTM
    stands before an MoE layer, its counting of statistics too.

    Args:
        model: a built Keras model.
        path: folder to write.
        endpoints: `dict` of name to `(function, input signature)`, or `None` for `serve`, the
            model's own call. The first one becomes the default signature.
        track: further `tf.Module`s that the endpoints use, such as a tokenizer.

    Raises:
        ValueError: `path` exists and is not a SavedModel alone, or the model is not built.
        OSError: `path` cannot be written.

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
    archive = keras.export.ExportArchive()
    for module in (model, *track):
        archive.track(module)
    with serving_mode(model):
        if endpoints is None:
            endpoints = {"serve": (lambda inputs: model(inputs), [_signature(model)])}
        for name, (function, signature) in endpoints.items():
            archive.add_endpoint(name, _unchanging(function), signature)
        try:
            with new_folder(path) as folder:
                archive.write_out(str(folder), verbose=False)
                write_digests(folder)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"The SavedModel could not be written to {shown(str(path))}: {error}. Choose "
                "another folder, or make room."
            ) from error


def check_new_or_saved_model(path):
    """Refuse a place for a SavedModel where something else would be lost.

    Raises:
        ValueError: something other than an empty folder or an earlier SavedModel is there.
    """
    place = check_place(path, folder=True)
    held = {x.name for x in place.iterdir()} if place.exists() else set()
    others = held if "saved_model.pb" not in held else held - PARTS
    if others:
        raise ValueError(
            f"Expected a new folder or an earlier SavedModel. Received: path={shown(str(path))}, "
            f"which holds other files. Choose another folder, or move {shown(min(others))} away."
        )


class _NoUpdates(keras.StatelessScope):
    """Within this scope Keras' variables keep their values, whatever is assigned to them."""

    def __init__(self):
        super().__init__(initialize_variables=False)

    def add_update(self, update):
        pass


def _unchanging(function):
    """The function without what it does to variables, such as counting for statistics.

    That `training` is not given would not be enough: a layer before, such as `Dropout`, makes it
    false for all that follow.
    """

    def served(*inputs):
        with _NoUpdates():
            return function(*inputs)

    return served


def _signature(model):
    """The specification of a model's input with an unknown batch size."""
    if not (isinstance(model, keras.Sequential) or hasattr(model, "input")):
        raise ValueError(
            f"Expected a functional or sequential model. Received: {shown(model.name)}, whose "
            "input has no known shape. Give its `endpoints`."
        )
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype, x.name), inputs
    )
