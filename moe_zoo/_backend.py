"""The check that Keras runs on TensorFlow, made without the cost of importing Keras."""

import json
import os
import sys
from pathlib import Path


def keras_backend() -> str:
    """Return the name of the backend that Keras uses, or will use once it is imported.

    Keras asks the environment variable `KERAS_BACKEND` first and its file `keras.json` second.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"].config.backend()
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    try:
        return json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError):
        return "tensorflow"


def require_tensorflow_backend() -> None:
    """Refuse every Keras backend but TensorFlow.

    Raises:
        ImportError: If Keras is set to another backend.
    """
    name = keras_backend()
    if name != "tensorflow":
        raise ImportError(
            "Expected Keras to run on its tensorflow backend. "
            f"Received: backend={name!r}. "
            "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )
