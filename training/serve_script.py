"""Serves one request from a SavedModel, as a program that knows TensorFlow but not moe_zoo.

Reads `{"saved_model", "prompts", "options"}` from standard input and writes the texts as the last
line of its output.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if __name__ == "__main__":
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the tokenizer's operations)

    request = json.load(sys.stdin)
    try:
        served = tf.saved_model.load(request["saved_model"])
        texts = served.generate(tf.constant(request["prompts"]), *request["options"])
    except Exception as error:
        raise SystemExit(str(error).splitlines()[0]) from error
    if "moe_zoo" in sys.modules:
        raise SystemExit("moe_zoo was imported")
    print("\n" + json.dumps([text.decode("utf-8", "replace") for text in texts.numpy()]))
