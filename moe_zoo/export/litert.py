"""LiteRT files (.tflite): a model on phones and small devices."""

import os
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.files import new_file
from moe_zoo.files.scratch import scratch_folder
from moe_zoo.scopes import portable_operations

from .portable_form import compare, portable_form
from .saved_model import endpoint, export_saved_model, serving_mode


def export_litert(model: keras.Model, path: str | os.PathLike) -> None:
    """Write a LiteRT file of any Keras model, open it, and compare its answers.

    Models of the zoo have `model.export(path, format="litert")`. Inputs and outputs are those of
    `export_onnx`, under the signature `serve`. The file has built-in operations only: it needs no
    TensorFlow (no "Flex").

    Args:
        model: a `RecommenderCore`, a Transformer, or another functional model in float32.
        path: `str` or path, the file to write.

    Raises:
        ValueError: If a feature has no operation in LiteRT, or the model is in half precision or
            not functional.
        RuntimeError: If a layer has no operation in LiteRT, or the file answers differently than
            the model.
    """
    form = portable_form(model, "LiteRT")

    def serve(*columns: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(form.outputs, form.answer(*columns), strict=True))

    with new_file(path) as file, scratch_folder(file.parent) as scratch:
        folder = str(scratch / "saved_model")
        with portable_operations():
            export_saved_model(
                model, folder, {"serve": endpoint(model, serve, *form.specs.values())}
            )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
        try:
            content = converter.convert()
        except Exception as error:  # ConverterError, which TensorFlow does not export
            raise RuntimeError(
                f"Expected operations that LiteRT has. Received: {_needed(error)}. Another layer, "
                "mixing or gate may do without."
            ) from error
        file.write_bytes(content)
        runner = _interpreter(str(file)).get_signature_runner("serve")
        names = {spec.name: name for name, spec in form.specs.items()}
        found = runner(**{name: form.probe[names[name]] for name in runner.get_input_details()})
        with serving_mode(model):
            compare(form, "tensorflow", found)


def _needed(error: Exception) -> str:
    """Return the operations that are missing, as the converter lists them."""
    lines = [line for line in str(error).splitlines() if line.startswith(("TF Select", "Custom"))]
    return "; ".join(lines) or (str(error).strip().splitlines() or ["no message"])[0]


def _interpreter(file: str) -> Any:
    """Return LiteRT's own interpreter where it is installed, else the one inside TensorFlow."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    return Interpreter(file)
