"""The package that tokenizes in the graph, where it is installed."""

from types import ModuleType

import tensorflow as tf


def require_tensorflow_text() -> ModuleType:
    """Import tensorflow-text, or raise an `ImportError` that tells how to get it."""
    try:
        import tensorflow_text
    except ImportError as error:
        raise ImportError(
            "Expected the package tensorflow-text, which splits text in the graph. Received: "
            f"{error}. Install the release that matches TensorFlow: pip install "
            f"'tensorflow-text~={tf.__version__.rpartition('.')[0]}.0'. There is none for Windows: "
            "use WSL there, or token ids of your own."
        ) from error
    return tensorflow_text
