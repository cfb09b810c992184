"""How many parameters a preset has, without the memory for them."""

import contextlib
import math

import keras
from keras.src.backend.common import global_state

from moe_zoo.models.lstm_language_model import LSTMLanguageModel

WAITING = "uninitialized_variables"  # Keras' list of variables that the next scope will fill


def count_core_parameters(preset):
    """Parameters of a preset without its embedding and softmax, as the paper counts them.

    The model is built with weights that have shapes but no values, so the size costs no memory.

    Args:
        preset: `str`, a name in `LSTM_LANGUAGE_MODELS`.

    Returns:
        `int`.

    Raises:
        ValueError: an unknown preset.

    Example:

    >>> count_core_parameters("moe_4")  # 2 * 8 * 512^2 + 4 * (2 * 512 * 1024 + 2 * 512)
    8392704
    """
    with weights_without_values():
        model = LSTMLanguageModel.from_preset(preset, vocabulary_size=2)
    weights = [weight for block in model.blocks for weight in block.trainable_weights]
    return sum(math.prod(weight.shape) for weight in weights)


@contextlib.contextmanager
def weights_without_values():
    """Models that are made in this context are not given their weights' values, then or later."""
    waiting = global_state.get_global_attribute(WAITING)
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Else the next scope that ends would allocate what was made in this one.
        global_state.set_global_attribute(WAITING, waiting)
