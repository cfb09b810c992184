"""How many parameters a model or a preset has, the latter without the memory for them."""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
from keras.src.backend.common import global_state

from moe_zoo.layers import MoE
from moe_zoo.models.text.lstm_language_model import LSTMLanguageModel

WAITING = "uninitialized_variables"  # Keras' list of variables that the next scope will fill


def count_core_parameters(preset: str) -> int:
    """Count the parameters of a preset without embedding and softmax, as the paper does.

    The model is built with weights that have shapes but no values, so the size costs no memory.

    Args:
        preset: `str`, a name in `LSTM_LANGUAGE_MODELS`.

    Returns:
        `int`.

    Raises:
        ValueError: If the preset is unknown.

    Example:

    >>> count_core_parameters("moe_4")  # 2 * 8 * 512^2 + 4 * (2 * 512 * 1024 + 2 * 512)
    8392704
    """
    with weights_without_values():
        model = LSTMLanguageModel.from_sizes(preset, vocabulary_size=2)
    weights = [weight for block in model.blocks for weight in block.trainable_weights]
    return sum(math.prod(weight.shape) for weight in weights)


class Parameters(NamedTuple):
    """Numbers of a Transformer's trainable parameters.

    Fields:
        total: `int`, all of them.
        active: `int`, those that one token meets, with K of the E experts of every mixture.
        core: `int`, without embedding and head.
        active_core: `int`.
    """

    total: int
    active: int
    core: int
    active_core: int


def count_parameters(model: keras.Model) -> Parameters:
    """Count the parameters of a built Transformer model; a tied head is not counted twice.

    Args:
        model: `TransformerLanguageModel`, `TransformerClassifier` or `TransformerSeq2Seq`.

    Returns:
        `Parameters`.

    Example:

    >>> from moe_zoo.models import TransformerLanguageModel
    >>> with weights_without_values():  # the size costs no memory
    ...     model = TransformerLanguageModel.from_sizes("small_switch_32", vocabulary_size=1000)
    >>> count_parameters(model).active
    923776
    """
    stacks = [getattr(model, name) for name in ("encoder", "decoder") if hasattr(model, name)]
    total, core = _size(model), sum(map(_size, stacks))
    mixtures = [
        block.feed_forward
        for stack in stacks
        for block in stack.blocks
        if isinstance(block.feed_forward, MoE)
    ]
    idle = sum(_idle(moe) for moe in mixtures)
    return Parameters(total, total - idle, core, core - idle)


def _size(layer: keras.layers.Layer) -> int:
    return sum(math.prod(weight.shape) for weight in layer.trainable_weights)


def _idle(moe: MoE) -> int:
    """Count the parameters of the experts that a token does not meet."""
    experts = moe.experts.num_experts
    return _size(moe.experts) // experts * (experts - moe.router.experts_per_token)


@contextlib.contextmanager
def weights_without_values() -> Iterator[None]:
    """Make models in this context without values of their weights, then or later."""
    waiting = global_state.get_global_attribute(WAITING)
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Else the next scope that ends would allocate what was made in this one.
        global_state.set_global_attribute(WAITING, waiting)
