"""ONNX files: a recommender outside TensorFlow."""

import os
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.export import serving_mode
from moe_zoo.models.recommender_core import RecommenderCore


def export_onnx(model, path, opset=18):
    """Write an ONNX file of a recommender, open it in onnxruntime, and compare its answers.

    ONNX has no such tables, hashes and searches: a model with features other than `Number` is
    refused. Its `core` can be exported, which takes the numbers that `model.encode` gives.

    Inputs and outputs of the file have the names of the features and tasks, where in a feature's
    all but letters, digits, `_`, `.` and `-` becomes `_`. The batch size is open.

    Args:
        model: a `MultiTaskRecommender`, or a `RecommenderCore`.
        path: file to write.
        opset: `int`, of ONNX.

    Raises:
        ImportError: tf2onnx, onnx or onnxruntime is missing.
        ValueError: a feature that ONNX has no operation for, or a model in half precision.
        RuntimeError: the file answers otherwise than the model.
    """
    convert, runtime = _import()
    features = {} if isinstance(model, RecommenderCore) else model.features
    for name, feature in features.items():
        if feature.onnx:
            raise ValueError(
                f"Expected features that ONNX has operations for. Received: {name!r}, "
                f"{type(feature).__name__}, which needs {feature.onnx}. Export `model.core`, and "
                "give it what `model.encode` gives."
            )
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"Expected a model in float32. Received: {layer.path!r} in {layer.compute_dtype}. "
                "Make one with dtype='float32' and give it the weights by set_weights."
            )
    specs = model.input_specs()
    names = {spec.name: name for name, spec in specs.items()}
    tasks = [task.name for task in model.tasks]

    def answer(*columns):
        outputs = model(dict(zip(specs, columns, strict=True)))
        return [tf.identity(outputs[task]) for task in tasks]

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with serving_mode(model), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        file = os.path.join(scratch, "new.onnx")
        convert(tf.function(answer), list(specs.values()), tasks, opset, file)
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
        _compare(model, session, names, _probe(specs, features))
        os.replace(file, path)


def _import():
    """The converter and the runtime."""
    try:
        import onnx
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            f"Expected tf2onnx, onnx and onnxruntime. Received: {error}. Install them: "
            "pip install 'moe-zoo[onnx]'."
        ) from error

    def convert(function, signature, outputs, opset, file):
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
                "Another mixing or gate may do without it."
            ) from error
        onnx.save(proto, file)

    return convert, onnxruntime


def _probe(specs, raw, rows=3):
    """Inputs that every feature accepts: the first indices, numbers about 0, raw ones missing."""
    some = [0.0, 1.0, np.nan if raw else -0.5]
    values = {}
    for name, spec in specs.items():
        shape = [rows] + [2] * (spec.shape.rank - 1)
        numbers = np.resize(some, shape) if spec.dtype.is_floating else np.ones(shape)
        values[name] = numbers.astype(spec.dtype.as_numpy_dtype)
    return values


def _compare(model, session, names, inputs):
    expected = model({name: tf.constant(x) for name, x in inputs.items()})
    given = {x.name: inputs[names[x.name]] for x in session.get_inputs()}
    outputs = [x.name for x in session.get_outputs()]
    for name, found in zip(outputs, session.run(outputs, given), strict=True):
        wanted = keras.ops.convert_to_numpy(expected[name])
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=1e-4, atol=1e-5):
            raise RuntimeError(
                f"Expected the file to answer as the model. Received: task {name!r}, {found} in "
                f"place of {wanted}. Please report this with the versions of tf2onnx and onnx."
            )
