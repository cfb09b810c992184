"""The matrix product of tokens sorted by expert with each expert's own matrix."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from moe_zoo.scopes import portable


def grouped_matmul(
    rows: tf.Tensor, kernel: tf.Tensor, counts: tf.Tensor, bias: tf.Tensor | None = None
) -> tf.Tensor:
    """Compute `rows_e W_e + b_e` for every expert e; `rows_e` are the next `counts_e` rows.

    A loop over the experts that have rows, in a graph whose size does not depend on E. The gradient
    is written by hand: automatic differentiation would build a dense `[E, D, F]` in every turn. XLA
    refuses it; DTensor cannot run it, nor can ONNX and LiteRT, for which `portable_operations`
    unrolls it.

    Args:
        rows: `<dtype>[N, D]`, sorted by expert.
        kernel: `<dtype>[E, D, F]`.
        counts: `<int32>[E]`, with a sum of at most N. Rows beyond it give zeros.
        bias: `<dtype>[E, F]` or `None`.

    Returns:
        `<dtype>[N, F]`.

    Example:

    >>> rows, kernel = tf.ones([3, 2]), tf.reshape(tf.range(4.0), [2, 2, 1])
    >>> grouped_matmul(rows, kernel, tf.constant([1, 2])).numpy().ravel().tolist()
    [1.0, 5.0, 5.0]
    """
    if portable():
        return _unrolled(rows, kernel, counts, bias)
    ends = tf.cumsum(refused_by_xla(counts))
    starts = ends - counts
    width, kernel_shape = rows.shape[-1], kernel.shape[1:]

    @tf.custom_gradient
    def product(rows: tf.Tensor, kernel: tf.Tensor, *bias: tf.Tensor) -> Any:
        def forward(turn: tf.Tensor) -> tuple:
            expert = busy[turn]
            outputs = tf.matmul(rows[starts[expert] : ends[expert]], kernel[expert])
            return (tf.nn.bias_add(outputs, bias[0][expert]) if bias else outputs,)

        def gradient(upstream: tf.Tensor) -> Any:
            def backward(expert: tf.Tensor) -> tuple:
                span = slice(starts[expert], ends[expert])
                return (
                    tf.matmul(upstream[span], kernel[expert], transpose_b=True),
                    tf.matmul(rows[span], upstream[span], transpose_a=True),
                    *(tf.reduce_sum(upstream[span], 0) for _ in bias),
                )

            shapes = [[None, width], kernel_shape, *(kernel_shape[1:] for _ in bias)]
            by_row, *by_weight = _loop(backward, counts.shape[0], rows.dtype, shapes)
            by_row = _rows(by_row, width, tf.shape(rows)[0])
            return by_row, *(array.stack() for array in by_weight)

        # A step of generation has a few rows, for which most experts have nothing to do.
        busy = tf.reshape(tf.where(counts > 0), [-1])
        busy = tf.cond(tf.size(busy) > 0, lambda: busy, lambda: tf.zeros([1], tf.int64))
        turns = tf.size(busy)
        (outputs,) = _loop(forward, turns, rows.dtype, [[None, kernel_shape[-1]]])
        return _rows(outputs, kernel_shape[-1], tf.shape(rows)[0]), gradient

    return product(rows, kernel) if bias is None else product(rows, kernel, bias)


def refused_by_xla(counts: tf.Tensor) -> tf.Tensor:
    """Return the same counts, by way of the clock and of strings, which XLA does not have.

    XLA would compile what follows, take every slice to be as long as it can be, and give wrong
    numbers. Its error shows the name of the operation. The clock has a state, so that no optimizer
    computes constant counts beforehand; strings end XLA's automatic clusters, which leave both out.

    Args:
        counts: `<int32>[E]`.

    Returns:
        `<int32>[E]`.
    """
    if portable():
        return counts
    name = "no_dropless_layer_under_XLA_use_jit_compile_False_or_a_capacity_factor"
    counts = counts + tf.cast(tf.minimum(tf.timestamp(name=name), 0.0), counts.dtype)  # + 0
    return tf.strings.to_number(tf.strings.as_string(counts, name=name), counts.dtype)


def _unrolled(
    rows: tf.Tensor, kernel: tf.Tensor, counts: tf.Tensor, bias: tf.Tensor | None
) -> tf.Tensor:
    """The same by E products in the graph."""
    ends, start, outputs = tf.cumsum(counts), 0, []
    for expert in range(kernel.shape[0]):
        product = tf.matmul(rows[start : ends[expert]], kernel[expert])
        outputs.append(product if bias is None else product + bias[expert])
        start = ends[expert]
    outputs.append(tf.zeros([tf.shape(rows)[0] - start, kernel.shape[2]], rows.dtype))
    return tf.concat(outputs, 0)


def _loop(
    body: Callable[[tf.Tensor], tuple], turns: tf.Tensor, dtype: tf.DType, shapes: list
) -> list:
    """The results of `body(turn)` for every turn, one TensorArray for each of `shapes`."""
    arrays = [
        tf.TensorArray(dtype, turns, infer_shape=None not in shape, element_shape=shape)
        for shape in shapes
    ]

    def step(turn: tf.Tensor, *arrays: tf.TensorArray) -> tuple:
        results = body(turn)
        written = (array.write(turn, x) for array, x in zip(arrays, results, strict=True))
        return turn + 1, *written

    _, *arrays = tf.while_loop(lambda turn, *_: turn < turns, step, (0, *arrays))
    return arrays


def _rows(array: tf.TensorArray, width: int, total: tf.Tensor) -> tf.Tensor:
    """The array's rows in one tensor, with zero rows up to `total`."""
    rows = tf.ensure_shape(array.concat(), [None, width])
    return tf.pad(rows, [[0, total - tf.shape(rows)[0]], [0, 0]])
