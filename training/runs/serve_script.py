"""Serve one request from a SavedModel, in a program with TensorFlow but without moe_zoo.

Read `{"saved_model", "endpoint", "texts", "options"}` from standard input, and write
`{"given": results of the endpoint}` or `{"error": message}` as the last line of the output. A
process that dies writes neither.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def plain(values: Any) -> Any:
    """Convert a tensor to nested lists of strings or numbers."""
    if values.dtype.name == "string":
        return [text.decode("utf-8", "replace") for text in values.numpy()]
    return values.numpy().tolist()


def endpoint_of(served: Any, name: str) -> Callable[..., Any]:
    """Find an endpoint that takes texts. Raises `LookupError` if the model has no such endpoint."""
    function = getattr(served, name, None)
    if function is not None:
        (first, *_), _ = function.concrete_functions[0].structured_input_signature
        if first.dtype.name == "string":
            return function
    raise LookupError(
        f"Expected an endpoint {name!r} that takes texts. Received: "
        f"{', '.join(sorted({*served.signatures} - {'serving_default'}))}. Language models are "
        "served by moe-zoo generate, translations by translate, classifiers by classify."
    )


def answer(request: dict[str, Any]) -> Any:
    """Call the endpoint and return its results as plain values."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    served = tf.saved_model.load(request["saved_model"])
    function = endpoint_of(served, request["endpoint"])
    results = function(tf.constant(request["texts"], tf.string), *request["options"])
    if "moe_zoo" in sys.modules:
        raise ImportError("moe_zoo was imported")
    return tf.nest.map_structure(plain, results)


def reason(error: Exception) -> str:
    """Describe an error in one line: a failed check of the graph, or the first line."""
    text = str(error)
    if match := re.search(r"assertion failed: \[(.*)\]", text):
        return match[1].replace("] [", " ").replace("\\'", "'")
    return text.splitlines()[0] if text else type(error).__name__


if __name__ == "__main__":
    try:
        reply = {"given": answer(json.load(sys.stdin))}
    except Exception as error:
        reply = {"error": reason(error)}
    print("\n" + json.dumps(reply))
