"""Tokens in groups: the shape that routers and plans work on."""

import math

import tensorflow as tf

from moe_zoo.plans.gathers import shape_of
from moe_zoo.scopes import GROUP, constrain, group_shards


def to_groups(
    inputs: tf.Tensor,
    mask: tf.Tensor | None = None,
    group_size: int | None = None,
    by_row: bool = False,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Flatten all axes but the last into tokens, in groups of `group_size`, or one for each row.

    Args:
        inputs: `<dtype>[..., D]`.
        mask: `<bool>[...]` or `None`.
        group_size: `int` or `None` for one group of all tokens, on a mesh of all that a device has.
            Where it does not divide the number of tokens the last group is padded with masked
            tokens.
        by_row: `bool`, whether each row of the batch, `inputs[b]`, is a group.

    Returns:
        `(<dtype>[G, S, D], <bool>[G, S] or None)`.

    Raises:
        ValueError: If two devices of a mesh would share a group.
    """
    if by_row:
        return _rows(inputs, mask)
    tokens = tf.reshape(inputs, [-1, inputs.shape[-1]])
    total, shards = shape_of(tokens)[0], group_shards()
    if mask is not None:
        mask = tf.reshape(tf.cast(mask, tf.bool), [-1])
    if group_size is None:
        size = total // shards
    elif isinstance(total, int):
        size = max(min(group_size, total), 1)
    else:
        size = tf.maximum(tf.minimum(group_size, total), 1)
    if group_size is not None and shards > 1 and total // shards % size:
        raise ValueError(
            f"Expected a group_size that divides the tokens of one device, which are "
            f"{total // shards} ({total} over {shards} devices). Received: "
            f"group_size={group_size}. Change it or the batch size."
        )
    missing = 0 if group_size is None else -total % size
    if not (isinstance(missing, int) and missing == 0):
        mask = tf.ones([total], tf.bool) if mask is None else mask
        tokens, mask = tf.pad(tokens, [[0, missing], [0, 0]]), tf.pad(mask, [[0, missing]])
    shape = [shards, size] if group_size is None else [-1, size]  # size may be 0 in the first
    tokens = constrain(tf.reshape(tokens, [*shape, inputs.shape[-1]]), GROUP)
    return tokens, None if mask is None else constrain(tf.reshape(mask, shape), GROUP)


def _rows(inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
    """`<dtype>[B, ..., D]` -> `<dtype>[B, S, D]`, and the mask alike."""
    rows, *axes, width = shape_of(inputs)
    size = tf.reduce_prod(axes) if None in inputs.shape[1:-1] else math.prod(axes)
    tokens = constrain(tf.reshape(inputs, [rows, size, width]), GROUP)
    if mask is not None:
        mask = constrain(tf.reshape(tf.cast(mask, tf.bool), [rows, size]), GROUP)
    return tokens, mask


def from_groups(tokens: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """Undo `to_groups`: `<dtype>[G, S, F]` -> `<dtype>[..., F]`, with the axes of `inputs`."""
    groups, size, width = tokens.shape
    shape = [*shape_of(inputs)[:-1], width]
    tokens = tf.reshape(tokens, [-1, width])
    # Groups of a given size are as many as needed; one of all tokens is never padded.
    if groups is None or size and groups * size != inputs.shape[:-1].num_elements():
        tokens = tokens[: tf.reduce_prod(shape[:-1])]  # without the padding of the last group
    return tf.reshape(tokens, shape)
