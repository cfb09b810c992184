"""ONNX files: a model outside TensorFlow."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.files import new_file
from moe_zoo.scopes import portable_operations

from .portable_form import compare, portable_form
from .saved_model import endpoint, serving_mode

# Optimizers of tf2onnx (1.16, 1.17) that take the shape of another tensor for one's own where a
# Dense layer's output is split into heads.
UNSOUND = ("optimize_transpose", "remove_back_to_back")


def export_onnx(model: keras.Model, path: str | os.PathLike, opset: int = 18) -> None:
    """Write an ONNX file of any Keras model, open it in onnxruntime, and compare its answers.

    Models of the zoo have `model.export(path, format="onnx")`. Mixtures of experts drop nothing, as
    in a SavedModel, unless their router has an `expert_capacity`. The file has a product for each
    expert. ONNX has no tables, hashes and searches of strings: a recommender with features other
    than `Number` is refused. Its `core` can be exported, which takes the numbers that
    `model.encode` gives.

    Inputs and outputs of the file have the names of the features and tasks, where in a feature's
    all but letters, digits, `_`, `.` and `-` becomes `_`; a Transformer's inputs are `tokens`, or
    `source` and `target`, its output is `logits`. Batch size and length are open.

    Args:
        model: a recommender, a Transformer, or another functional model in float32.
        path: `str` or path, the file to write.
        opset: `int`, version of ONNX's operations.

    Raises:
        ImportError: If tf2onnx, onnx or onnxruntime is missing.
        ValueError: If a feature has no operation in ONNX, or the model is in half precision or not
            functional.
        RuntimeError: If a layer has no operation in ONNX, or the file answers differently than the
            model.
    """
    convert, runtime = _import()
    form = portable_form(model, "ONNX")
    with serving_mode(model), new_file(path) as place:
        file = str(place)
        with portable_operations():
            signature = list(form.specs.values())
            convert(endpoint(model, form.answer, *signature), signature, form.outputs, opset, file)
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = {spec.name: name for name, spec in form.specs.items()}
        given = {x.name: form.probe[names[x.name]] for x in session.get_inputs()}
        found = session.run(form.outputs, given)
        compare(form, "tf2onnx and onnx", dict(zip(form.outputs, found, strict=True)))


def _import() -> tuple[Callable[..., None], Any]:
    """Return the converter and the runtime."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
        import tf2onnx.optimizer
    except ImportError as error:
        raise ImportError(
            f"Expected tf2onnx, onnx and onnxruntime. Received: {error}. Install them: "
            "pip install 'moe-zoo[onnx]'."
        ) from error

    def convert(
        function: tf.function, signature: list, outputs: list[str], opset: int, file: str
    ) -> None:
        with _sound(tf2onnx.optimizer):
            proto, _ = tf2onnx.convert.from_function(function, signature, opset=opset)
        # Tensors of Keras' preprocessing layers come as inputs: they become constants.
        captured = {
            inner.op.name: outer
            for outer, inner in function.get_concrete_function(*signature).graph.captures
        }
        for value in [x for x in proto.graph.input if x.name.split(":")[0] in captured]:
            constant = captured[value.name.split(":")[0]].numpy()
            proto.graph.initializer.append(onnx.numpy_helper.from_array(constant, value.name))
            proto.graph.input.remove(value)
        renamed = dict(zip([x.name for x in proto.graph.output], outputs, strict=True))
        for node in proto.graph.node:
            node.output[:] = [renamed.get(name, name) for name in node.output]
            node.input[:] = [renamed.get(name, name) for name in node.input]
        for output in proto.graph.output:
            output.name = renamed[output.name]
        try:
            onnx.checker.check_model(proto)
        except onnx.checker.ValidationError as error:
            raise RuntimeError(
                f"Expected operations that ONNX has. Received: {str(error).splitlines()[0]} "
                "Another layer, mixing or gate may do without it."
            ) from error
        onnx.save(proto, file)

    return convert, onnxruntime


@contextlib.contextmanager
def _sound(module: Any) -> Iterator[None]:
    """Leave out the `UNSOUND` optimizers, for which `from_function` has no option."""
    known = module._optimizers
    module._optimizers = {name: x for name, x in known.items() if name not in UNSOUND}
    try:
        yield
    finally:
        module._optimizers = known
