"""Prompts of generation, in whatever form they come."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from moe_zoo.models.checks import as_ids, checked
from moe_zoo.validation import shown

# Tokens, states and place to the logits of the next token and the next states.
Step = Callable[[tf.Tensor, Any, tf.Tensor], tuple[tf.Tensor, Any]]


def padding_of(step: Step) -> int | None:
    """Return the id that a model takes for padding in prompts, or `None`.

    Args:
        step: method of a model with a `pad_id`, or another function.
    """
    model = getattr(step, "__self__", None)
    begins = getattr(model, "begins_with_padding", False)  # there it may be a token
    return None if begins else getattr(model, "pad_id", None)


def ragged_prompts(prompts: Any, pad_id: int | None = None) -> tf.RaggedTensor:
    """Return prompts as one ragged tensor of ids.

    Args:
        prompts: `<int>[B, (tokens)]`, ragged or dense: a tensor, an array, or a list of lists. Each
            has at least one token. Padding is for the model to mask.
        pad_id: `int`, what is padding and no token; `None` where every id is one.

    Returns:
        `<int32>[B, (tokens)]`, ragged.

    Raises:
        ValueError: If numbers are not whole or too large for int32, there is another number of
            axes, or a prompt has no token.
        tf.errors.InvalidArgumentError: If that is known only when the graph runs.

    Example:

    >>> ragged_prompts([[7], [20, 21]]).to_list()
    [[7], [20, 21]]
    """
    advice = "Give a list of ids for each text, such as [[5, 7], [5]]."
    if isinstance(prompts, list | tuple):
        try:
            prompts = tf.ragged.constant([list(row) for row in prompts], ragged_rank=1)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected prompts of ids. Received: prompts={shown(prompts)}. {advice}"
            ) from error
        prompts = tf.cast(prompts, tf.int32) if prompts.shape[0] == 0 else prompts
    elif not isinstance(prompts, tf.RaggedTensor):
        prompts = tf.convert_to_tensor(prompts)
    if not prompts.dtype.is_integer or prompts.shape.rank != 2:
        raise ValueError(
            "Expected prompts [batch, tokens] of whole numbers. Received: prompts.shape="
            f"{prompts.shape}, prompts.dtype={prompts.dtype.name}. {advice}"
        )
    if not isinstance(prompts, tf.RaggedTensor):
        prompts = tf.RaggedTensor.from_tensor(prompts)
    splits = tf.cast(prompts.row_splits, tf.int64)
    # Without the length that all rows have, of which TensorFlow makes nothing where there are none.
    prompts = tf.RaggedTensor.from_row_splits(as_ids(prompts.values), splits)
    received = "an empty one" + ("" if pad_id is None else f", or one of padding ({pad_id}) alone")
    message = f"Expected at least one token in each prompt. Received: {received}"
    token_mask = (
        tf.ones_like(prompts.values, tf.bool) if pad_id is None else prompts.values != pad_id
    )
    filled = tf.reduce_all(tf.reduce_any(prompts.with_values(token_mask), axis=1))
    return checked(prompts, filled, message, (), advice)
