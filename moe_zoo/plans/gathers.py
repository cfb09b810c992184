"""Tokens into slots and slots back into tokens: gathers in both directions.

Axis letters as in `moe_zoo.plans.plan`; M is the number of slots of a group.
"""

from typing import Any

import tensorflow as tf


def shape_of(tensor: tf.Tensor) -> list:
    """Return the shape, with integers where they are known and scalar tensors where not."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(tensor.shape)]


@tf.custom_gradient
def fill_slots(tokens: tf.Tensor, index: tf.Tensor, slots: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Gather each slot's token; an empty slot is zeros.

    The gradient gathers too, where automatic differentiation would scatter.

    Args:
        tokens: `<dtype>[G, S, D]`.
        index: `<int32>[G, M]`, the token of each slot; S if it is empty.
        slots: `<int32>[G, K, S]`, the slot of each kept choice.
        kept: `<bool>[G, K, S]`.

    Returns:
        `<dtype>[G, M, D]`.
    """

    def gradient(upstream: tf.Tensor) -> Any:
        values = _values(upstream, slots)
        return _sum_kept(values, kept), None, None, None

    return _fill(tokens, index), gradient


@tf.custom_gradient
def sum_slots(
    outputs: tf.Tensor, gates: tf.Tensor, index: tf.Tensor, slots: tf.Tensor, kept: tf.Tensor
) -> tf.Tensor:
    """Compute `sum_k gates_k * outputs[slots_k]` over the kept choices, in float32.

    Args:
        outputs: `<dtype>[G, M, D]`.
        gates: `<float32>[G, K, S]`.
        index: `<int32>[G, M]`, the token of each slot; S if it is empty.
        slots: `<int32>[G, K, S]`, the slot of each kept choice.
        kept: `<bool>[G, K, S]`.

    Returns:
        `<dtype>[G, S, D]`.
    """
    values = [tf.cast(value, tf.float32) for value in _values(outputs, slots)]
    weights = tf.unstack(tf.expand_dims(gates, -1), axis=1)
    total = _sum_kept([w * value for w, value in zip(weights, values, strict=True)], kept)

    def gradient(upstream: tf.Tensor) -> Any:
        upstream = _fill(tf.cast(upstream, tf.float32), index)  # [G, M, D]
        by_slot = tf.reduce_sum(upstream * tf.cast(outputs, tf.float32), -1, keepdims=True)
        by_gate = tf.stack([tf.squeeze(x, -1) for x in _values(by_slot, slots)], 1)
        by_gate = tf.where(kept, by_gate, 0.0)
        weights = _gate_of_slot(gates, index, slots, kept)
        with tf.control_dependencies([by_gate]):  # else outputs and hidden layer live on for it
            by_output = tf.cast(upstream * tf.expand_dims(weights, -1), outputs.dtype)
        return by_output, by_gate, None, None, None

    return tf.cast(total, outputs.dtype), gradient


@tf.custom_gradient
def pick_scores(scores: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Gather each token's scores of some experts.

    The gradient is put in its place by comparison. Automatic differentiation would scatter, for
    which a mesh of devices has to add up all `[G, S, E]` of all of them.

    Args:
        scores: `<float32>[G, S, E]`.
        index: `<int32>[G, S, K]`, experts, all different for one token.

    Returns:
        `<float32>[G, S, K]`.
    """
    experts = tf.range(scores.shape[-1])

    def gradient(upstream: tf.Tensor) -> Any:
        parts = zip(tf.unstack(index, axis=-1), tf.unstack(upstream, axis=-1), strict=True)
        placed = [
            tf.where(tf.expand_dims(chosen, -1) == experts, tf.expand_dims(value, -1), 0.0)
            for chosen, value in parts
        ]
        return tf.add_n(placed), None

    return tf.gather(scores, index, batch_dims=2), gradient


def _fill(tokens: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """`tokens[index]`; the row S beyond the last token is zeros."""
    return tf.gather(tf.pad(tokens, [[0, 0], [0, 1], [0, 0]]), index, batch_dims=1)


def _values(rows: tf.Tensor, slots: tf.Tensor) -> list[tf.Tensor]:
    """The row of each choice's slot: K times `<dtype>[G, S, D]`."""
    return [tf.gather(rows, slots[:, choice], batch_dims=1) for choice in range(slots.shape[1])]


def _sum_kept(values: list[tf.Tensor], kept: tf.Tensor) -> tf.Tensor:
    """The sum of the kept choices' values.

    A dropped one is masked, not multiplied by zero: the slot it would read may hold another token's
    NaN.
    """
    masks = tf.unstack(tf.expand_dims(kept, -1), axis=1)
    zero = tf.zeros([], values[0].dtype)
    return tf.add_n([tf.where(mask, x, zero) for mask, x in zip(masks, values, strict=True)])


def _gate_of_slot(
    gates: tf.Tensor, index: tf.Tensor, slots: tf.Tensor, kept: tf.Tensor
) -> tf.Tensor:
    """`<float32>[G, M]`, the gate of the choice that fills each slot.

    Of the K choices of the slot's token it is the one that points back at the slot.
    """
    one_more = [[0, 0], [0, 0], [0, 1]]  # for the empty slots, whose token is S
    slots = tf.pad(tf.where(kept, slots, -1), one_more, constant_values=-1)
    gates = tf.pad(gates, one_more)
    here = tf.range(tf.shape(index)[1])
    of_choices = []
    for choice in range(slots.shape[1]):
        fills = tf.gather(slots[:, choice], index, batch_dims=1) == here
        of_choices.append(tf.where(fills, tf.gather(gates[:, choice], index, batch_dims=1), 0.0))
    return tf.add_n(of_choices)
