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


if __name__ == "__main__":
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    request = json.load(sys.stdin)
    try:
        served = tf.saved_model.load(request["saved_model"])
        function = getattr(served, request["endpoint"])
        given = function(tf.constant(request["texts"], tf.string), *request["options"])
    except Exception as error:
        raise SystemExit(str(error).splitlines()[0]) from error
    if "moe_zoo" in sys.modules:
        raise SystemExit("moe_zoo was imported")
    print("\n" + json.dumps(tf.nest.map_structure(plain, given)))
