"""Prompts of generation, in whatever form they come."""

import tensorflow as tf

from moe_zoo.models.checks import as_ids
from moe_zoo.validation import shown


def ragged_prompts(prompts):
    """Prompts as one ragged tensor of ids.

    Args:
        prompts: `<int>[B, (tokens)]`, ragged or dense: a tensor, an array, or a list of lists. Each
            has at least one token. Padding is for the model to mask.

    Returns:
        `<int32>[B, (tokens)]`, ragged.

    Raises:
        ValueError: numbers that are not whole or that int32 lacks, another number of axes, or a
            prompt without tokens; within a graph that has to run to find out,
            `tf.errors.InvalidArgumentError`.

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
    message = f"Expected at least one token in each prompt. Received: an empty one. {advice}"
    filled = tf.reduce_all(prompts.row_lengths() > 0)
    known = tf.get_static_value(filled)
    if known is None:
        with tf.control_dependencies([tf.Assert(filled, [message])]):
            return tf.identity(prompts)
    if not known:
        raise ValueError(message)
    return prompts
