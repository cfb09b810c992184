"""Serves one request from a SavedModel, as a program that knows TensorFlow but not moe_zoo.

Reads `{"saved_model", "endpoint", "texts", "options"}` from standard input and writes
`{"given": what the endpoint gives}` or `{"error": why there is nothing}` as the last line of its
output. A process that dies writes neither.
"""

import json
import os
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def plain(values):
    """A tensor as lists of strings or numbers."""
    if values.dtype.name == "string":
        return [text.decode("utf-8", "replace") for text in values.numpy()]
    return values.numpy().tolist()


def endpoint_of(served, name):
    """The endpoint of texts; `LookupError` if the model has none of this name."""
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


def answer(request):
    """What the endpoint gives, or why there is nothing."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    served = tf.saved_model.load(request["saved_model"])
    function = endpoint_of(served, request["endpoint"])
    given = function(tf.constant(request["texts"], tf.string), *request["options"])
    if "moe_zoo" in sys.modules:
        raise ImportError("moe_zoo was imported")
    return tf.nest.map_structure(plain, given)


def reason(error):
    """What went wrong, in one line: a check that failed in the graph, or the first line."""
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
