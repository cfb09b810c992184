"""What a stack refuses: rows that are too long, and routers that see later tokens."""

import warnings
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models.checks import checked


def check_length(length: Any, max_length: int | None) -> Any:
    """Return `length`, checked at once or, if it is not known yet, when the graph runs.

    Args:
        length: `int`, `<int32>[]` or `None`.
        max_length: `int`, or `None` for any length.

    Raises:
        ValueError: If `length > max_length`.
        tf.errors.InvalidArgumentError: If that is known only when the graph runs.
    """
    if max_length is None or length is None:
        return length
    known = tf.get_static_value(length) if tf.is_tensor(length) else length
    known = length if known is None else int(known)
    return checked(
        length,
        known <= max_length,
        f"Expected rows of at most max_length={max_length} tokens. Received: rows of ",
        (known,),
        "Shorten the rows or give the model a larger max_length.",
    )


def check_causal(layer: keras.layers.Layer | None) -> None:
    """Refuse a mixture in which an earlier token depends on later ones, or warn of it."""
    router = getattr(layer, "router", None)
    if getattr(router, "looks_ahead", False):
        raise ValueError(
            "Expected a router that decides about a token without the later ones. Received: "
            f"{type(router).__name__}, which looks ahead, in a causal stack. Its model would see "
            "the tokens that it is to predict. Take a SwitchRouter or another one of token choice."
        )
    if getattr(router, "batch_priority", False):
        warnings.warn(
            "Expected slots in the order of arrival in a causal stack. Received: "
            "batch_priority=True, by which later tokens can take the slots of earlier ones, in "
            "training and not in generation. Set batch_priority=False.",
            stacklevel=3,
        )
