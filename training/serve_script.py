"""Serves one request from a SavedModel, as a program that knows TensorFlow but not moe_zoo.

Reads `{"saved_model", "endpoint", "texts", "options"}` from standard input and writes what the
endpoint gives as the last line of its output.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def plain(values):
    """A tensor as lists of strings or numbers."""
    if values.dtype.name == "string":
        return [text.decode("utf-8", "replace") for text in values.numpy()]
    return values.numpy().tolist()


def endpoint_of(served, name):
    """The endpoint of texts; `SystemExit` if the model has none of this name."""
    function = getattr(served, name, None)
    if function is not None:
        (first, *_), _ = function.concrete_functions[0].structured_input_signature
        if first.dtype.name == "string":
            return function
    raise SystemExit(
        f"Expected an endpoint {name!r} that takes texts. Received: "
        f"{', '.join(sorted({*served.signatures} - {'serving_default'}))}. Language models are "
        "served by moe-zoo generate, translations by translate, classifiers by classify."
    )


if __name__ == "__main__":
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    request = json.load(sys.stdin)
    try:
        served = tf.saved_model.load(request["saved_model"])
        function = endpoint_of(served, request["endpoint"])
        given = function(tf.constant(request["texts"], tf.string), *request["options"])
    except Exception as error:
        raise SystemExit(str(error).splitlines()[0]) from error
    if "moe_zoo" in sys.modules:
        raise SystemExit("moe_zoo was imported")
    print("\n" + json.dumps(tf.nest.map_structure(plain, given)))
