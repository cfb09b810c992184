"""Inputs and masks of layers as dense tensors, whatever a user gives as one."""

from typing import Any

import tensorflow as tf

from moe_zoo.scopes import portable
from moe_zoo.validation import shown


def dense_inputs(inputs: Any) -> tf.Tensor:
    """Return the inputs of a layer as one dense tensor.

    Args:
        inputs: `<float>[B, ...]`.

    Raises:
        ValueError: If the inputs are ragged, sparse, no single tensor, or no floats.
    """
    if isinstance(inputs, tf.RaggedTensor):
        raise ValueError(
            f"Expected dense inputs. Received: inputs=RaggedTensor of shape {inputs.shape}. Give "
            "inputs.to_tensor(), and as a mask tf.sequence_mask(inputs.row_lengths())."
        )
    if isinstance(inputs, tf.SparseTensor):
        raise ValueError(
            f"Expected dense inputs. Received: inputs=SparseTensor of shape {inputs.shape}. Give "
            "tf.sparse.to_dense(inputs)."
        )
    if not hasattr(inputs, "dtype"):
        raise ValueError(
            f"Expected one tensor. Received: inputs={shown(inputs)}. Call the layer on "
            "each tensor, or concatenate them."
        )
    inputs = tf.convert_to_tensor(inputs)  # a variable of Keras has another dtype
    if not inputs.dtype.is_floating:
        raise ValueError(
            f"Expected inputs of floats. Received: dtype={inputs.dtype.name}. Embed ids first, and "
            "cast numbers by keras.ops.cast(inputs, 'float32')."
        )
    return inputs


def mask_of(mask: Any, inputs: tf.Tensor | None) -> tf.Tensor | None:
    """Return a mask as `<bool>[B, ...]`, of inputs `[B, ..., D]`.

    Args:
        mask: tensor, array or nested lists of booleans, or of numbers that are 0 for padding;
            `None` for none.
        inputs: `<dtype>[B, ..., D]`.

    Raises:
        ValueError: If the mask has another shape, or is no such thing.
        tf.errors.InvalidArgumentError: If that is seen only when a graph runs.
    """
    if mask is None or inputs is None:
        return None
    received = f"mask={type(mask).__name__} {shown(mask)}"
    try:
        if isinstance(mask, tf.RaggedTensor | tf.SparseTensor):
            raise ValueError(f"it is a {type(mask).__name__}")
        mask = tf.convert_to_tensor(mask)
        received = f"mask.shape={mask.shape}, mask.dtype={mask.dtype.name}"
        known = mask.shape.rank is not None and mask.shape.is_compatible_with(inputs.shape[:-1])
        if not known or not (mask.dtype.is_bool or mask.dtype.is_integer or mask.dtype.is_floating):
            raise ValueError("it does not fit")
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected a mask with the axes of the inputs but the last, true where there is a "
            f"token. Received: {received}, inputs.shape={inputs.shape}. Leave the mask out if no "
            "token is padding."
        ) from error
    mask = tf.cast(mask, tf.bool)
    if mask.shape.is_fully_defined() and inputs.shape[:-1].is_fully_defined() or portable():
        return mask
    check = tf.debugging.assert_equal(
        tf.shape(mask),
        tf.shape(inputs)[:-1],
        "Expected a mask with the axes of the inputs but the last.",
    )
    with tf.control_dependencies([check]):
        return tf.identity(mask)
