"""How rows lie before the experts, and the product of each row with its expert's matrix."""

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from moe_zoo.scopes import EXPERT, ROW, constrain

from .gathers import shape_of
from .grouped_matmul import grouped_matmul, refused_by_xla


class Layout(Protocol):
    """How rows lie before the experts. Experts are written against `dense`."""

    def dense(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Compute `x W_e + b_e` with the weights of the expert e of each row.

        Args:
            rows: rows in this layout.
            kernel: `<dtype>[E, D, F]`.
            bias: `<dtype>[E, F]` or `None`.
        """

    def place(self, rows: tf.Tensor) -> tf.Tensor:
        """Lay rows out on the mesh, if there is one, as the experts read and return them."""

    def by_part(
        self, rows: tf.Tensor, sizes: Sequence[int], part: Callable[..., tf.Tensor]
    ) -> tf.Tensor:
        """Compute consecutive experts by functions of their own and join the outputs.

        Args:
            rows: rows in this layout.
            sizes: number of experts of each part.
            part: function of the part's number, its rows and their layout.
        """


class Slots:
    """Each expert has the same number of rows: `<dtype>[E, M, D]` -> `<dtype>[E, M, F]`."""

    def dense(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Compute `x W_e + b_e` by one batched product."""
        outputs = tf.matmul(rows, tf.convert_to_tensor(kernel))
        return outputs if bias is None else outputs + tf.expand_dims(tf.convert_to_tensor(bias), 1)

    def place(self, rows: tf.Tensor) -> tf.Tensor:
        """Leave rows where the plan laid them."""
        return rows

    def by_part(
        self, rows: tf.Tensor, sizes: Sequence[int], part: Callable[..., tf.Tensor]
    ) -> tf.Tensor:
        """Compute parts of the experts on their own slots."""
        pieces = tf.split(constrain(rows), sizes, 0)  # a mesh can neither split nor join experts
        outputs = [constrain(part(i, piece, self)) for i, piece in enumerate(pieces)]
        return constrain(tf.concat(outputs, 0))


class SortedRows:
    """Rows sorted by expert: `<dtype>[N, D]` -> `<dtype>[N, F]`. Rows past the last give zeros.

    Args:
        counts: `<int32>[E]`, rows of each expert among the N.
    """

    def __init__(self, counts: tf.Tensor):
        self.counts = counts

    def dense(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Compute `x W_e + b_e` by a loop over the experts that have rows."""
        kernel = tf.convert_to_tensor(kernel)
        bias = None if bias is None else tf.convert_to_tensor(bias)
        return grouped_matmul(rows, kernel, self.counts, bias)

    def place(self, rows: tf.Tensor) -> tf.Tensor:
        """Leave rows where they are: a mesh cannot run this layout."""
        return rows

    def by_part(
        self, rows: tf.Tensor, sizes: Sequence[int], part: Callable[..., tf.Tensor]
    ) -> tf.Tensor:
        """Compute parts of the experts on their own rows."""
        counts = tf.split(refused_by_xla(self.counts), sizes)
        lengths = [tf.reduce_sum(part_counts) for part_counts in counts]
        spare = tf.shape(rows, counts[0].dtype)[0] - tf.add_n(lengths)  # rows past the last expert
        pieces = zip(tf.split(rows, tf.stack([*lengths, spare]))[:-1], counts, strict=True)
        outputs = [part(i, piece, SortedRows(n)) for i, (piece, n) in enumerate(pieces)]
        return tf.pad(tf.concat(outputs, 0), [[0, spare], [0, 0]])


class EveryRow:
    """Every expert computes every row: `<dtype>[M, D]` -> `<dtype>[M, E, F]`.

    `<dtype>[M, E, D]` rows, as further layers get them, hold a row for each expert.
    """

    def dense(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Compute `x W_e + b_e` by one product of all kernels, or a batched one of `[M, E, D]`."""
        kernel = tf.convert_to_tensor(kernel)
        bias = None if bias is None else tf.convert_to_tensor(bias)
        num_experts, width, units = kernel.shape
        if len(rows.shape) == 3:
            rows = tf.transpose(rows, [1, 0, 2])
            outputs = tf.transpose(tf.matmul(rows, kernel), [1, 0, 2])
        else:
            together = tf.reshape(tf.transpose(kernel, [1, 0, 2]), [width, num_experts * units])
            shape = [shape_of(rows)[0], num_experts, units]
            outputs = tf.reshape(tf.matmul(rows, together), shape)
        return outputs if bias is None else outputs + bias

    def place(self, rows: tf.Tensor) -> tf.Tensor:
        """Lay `[M, D]` or `[M, E, D]` rows out on the mesh."""
        return constrain(rows, ROW, *[EXPERT] * (len(rows.shape) - 2))

    def by_part(
        self, rows: tf.Tensor, sizes: Sequence[int], part: Callable[..., tf.Tensor]
    ) -> tf.Tensor:
        """Compute parts of the experts on all rows."""
        pieces = [rows] * len(sizes)
        if len(rows.shape) == 3:
            pieces = tf.split(constrain(rows, ROW), sizes, 1)  # with all experts, as in `Slots`
        outputs = [part(i, piece, self) for i, piece in enumerate(pieces)]
        return constrain(tf.concat([constrain(x, ROW) for x in outputs], 1), ROW)
