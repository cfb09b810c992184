"""Checks of what callers of a model give, in Python and inside of graphs and SavedModels.

A value that is known is checked at once and raises `ValueError`. One that only a run of the graph
knows fails there with `InvalidArgumentError`; ONNX, LiteRT and XLA have no such operation and leave
it out.
"""

import math
import numbers
from typing import Any

import tensorflow as tf

from moe_zoo.scopes import portable
from moe_zoo.validation import shown

LIMITS = {  # least and most of the options of generation, and what to do
    "max_new_tokens": (0, 1_000_000, "60 is common."),
    "temperature": (0.0, math.inf, "0 takes the most probable token, 0.7 is common."),
    "top_k": (0, 2**31 - 1, "0 draws from all tokens, 20 is common."),
    "top_p": (0.0, 1.0, "1 draws from all tokens, 0.9 from the most probable nine tenths."),
    "seed": (-(2**31), 2**31 - 1, "0 is common."),
    "num_beams": (1, 10_000, "1 draws tokens, 4 is common for beam search."),
    "length_penalty": (0.0, math.inf, "0 switches it off, 0.6 is common."),
}


def check_ids(ids: Any, size: int, name: str = "tokens") -> Any:
    """Return the ids, each of which has to be the number of a row of an embedding.

    TensorFlow and Keras take -1 for the last row on a CPU, and give zeros for too large ones on a
    GPU.

    Args:
        ids: `<int>[...]`, dense or ragged.
        size: `int`, rows of the embedding.
        name: `str`, of the argument.

    Raises:
        ValueError: If an id is no whole number, negative or not below `size`.

    Example:

    >>> check_ids(tf.constant([0, 99]), 100).numpy()
    array([ 0, 99], dtype=int32)
    """
    if isinstance(ids, tf.RaggedTensor):
        return ids.with_flat_values(check_ids(ids.flat_values, size, name))
    return _between(_whole(ids, name), 0, size - 1, name)


def as_ids(ids: Any, name: str = "tokens") -> tf.Tensor:
    """Return the ids as int32; a cast alone would cut 1.5 to 1 and wrap 2^32 to 0.

    Args:
        ids: `<int>[...]`.
        name: `str`, of the argument.

    Raises:
        ValueError: If they are of no type of whole numbers, or int32 has no such number.

    Example:

    >>> as_ids(tf.constant([0, 99], tf.int64)).numpy()
    array([ 0, 99], dtype=int32)
    """
    ids = _whole(ids, name)
    if ids.dtype.max > tf.int32.max:
        ids = _between(tf.cast(ids, tf.int64), tf.int32.min, tf.int32.max, name)
    return tf.cast(ids, tf.int32)


def as_strings(strings: Any, name: str = "strings") -> tf.Tensor:
    """Return strings as a tensor `<string>[batch]`.

    Args:
        strings: `<string>[batch]`, or a list of strings.
        name: `str`, of the argument.

    Raises:
        ValueError: If they are something else.

    Example:

    >>> as_strings(["a", "b"]).shape
    TensorShape([2])
    """
    try:
        tensor = tf.convert_to_tensor(strings, tf.string)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected strings of shape [batch]. Received: {name}={shown(strings)}. Give a list of "
            "strings."
        ) from error
    if tensor.shape.rank != 1:
        raise ValueError(
            f"Expected strings of shape [batch]. Received: {name}.shape={tensor.shape}. Put a "
            "single string into a list."
        )
    return tensor


def _whole(ids: Any, name: str) -> tf.Tensor:
    """Return ids of a type of whole numbers as a tensor."""
    # For empty lists; of an array of floats the hint would make whole numbers.
    hint = tf.int32 if isinstance(ids, list | tuple) else None
    ids = tf.convert_to_tensor(ids, dtype_hint=hint)
    if not ids.dtype.is_integer:
        raise ValueError(
            f"Expected {name} of whole numbers. Received: dtype={ids.dtype.name}. Give int32 or "
            "int64, also as the dtype of a keras.Input before the model."
        )
    return ids


def _between(ids: tf.Tensor, least: int, most: int, name: str) -> tf.Tensor:
    """Return the ids, all from `least` to `most`."""
    return checked(
        ids,
        tf.reduce_all(tf.logical_and(ids >= least, ids <= most)),
        f"Expected {name} from {least} to {most}. Received: {name} from ",
        (tf.reduce_min(ids), "to", tf.reduce_max(ids)),
        "Take the ids of the model's own tokenizer.",
    )


def check_options(**options: Any) -> dict[str, Any]:
    """Return options of generation by name, each within its `LIMITS` and finite.

    Args:
        **options: numbers or scalar tensors.

    Raises:
        ValueError: If one is out of its limits, infinite, NaN or of another type.

    Example:

    >>> check_options(top_p=1.5)
    Traceback (most recent call last):
        ...
    ValueError: Expected 0.0 <= top_p <= 1.0. Received: top_p=1.5. 1 draws from all tokens, 0.9 ...
    """
    return {name: _check_option(name, value) for name, value in options.items()}


def _check_option(name: str, value: Any) -> Any:
    least, most, advice = LIMITS[name]
    if math.isinf(most):
        bounds = f"a finite {name} >= {least}"
    else:
        bounds = f"{least} <= {name} <= {most}"
    kind = numbers.Integral if isinstance(least, int) else numbers.Real
    if not tf.is_tensor(value) and (isinstance(value, bool) or not isinstance(value, kind)):
        holds = False
    elif math.isinf(most):
        holds = (value >= least) & (value < most)
    else:
        holds = (value >= least) & (value <= most)
    return checked(value, holds, f"Expected {bounds}. Received: {name}=", (value,), advice)


def checked(value: Any, holds: Any, message: str, received: tuple, advice: str) -> Any:
    """Return `value`. Raise `ValueError` unless `holds`, or let the graph fail when it runs."""
    known = tf.get_static_value(holds) if tf.is_tensor(holds) else holds
    if known is not None:
        if not known:
            texts = [x.numpy().tolist() if tf.is_tensor(x) else x for x in received]
            texts = [x if x == "to" else shown(x) for x in texts]
            raise ValueError(f"{message}{' '.join(texts)}. {advice}")
        return value
    if portable():
        return value
    check = tf.Assert(holds, [message, *received, advice])
    with tf.control_dependencies([check]):
        return tf.identity(value)
