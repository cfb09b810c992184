"""Data for recommenders: descriptions of columns, and the rows of each part in batches."""

import functools
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from moe_zoo.validation import LARGEST_INT, check_int, check_names, shown

from .rows import Rows, batch_rows, join_rows, shuffle_rows

PARTS = ("train", "validation", "test")
BUFFER_ROWS = 131_072

# Reads some parts once, in pieces of any length, each with the name of its part.
Reader = Callable[[Collection[str]], Iterator[tuple[str, Rows]]]


@dataclass(frozen=True)
class RecommenderData:
    """Features and labels of the rows of each part, from any source.

    Numbers are float32 with NaN where they are missing, texts objects with `""`, ids that are whole
    numbers int64 with -1; lists are `[rows, length]`, padded with the same. All labels are float32
    with NaN where they are missing; the label of a class is its number.

    Attributes:
        features: Description of each feature as plain data: `kind` (`"number"`, `"buckets"`,
            `"category"`, `"hashed"` or `"list"`) and the arguments of its class in
            `moe_zoo.models.recommender.features`; a list has its values' description as `feature`.
        tasks: Description of each task: `kind` (`"binary"`, `"regression"` or `"classes"`), its
            `weight` where it is not 1, and the names of its `classes`.
        read: Function that reads some parts once.
        description: One line on the data and how they are split.
        parts: Names of the parts.

    Example:

    >>> x, y = {"age": np.arange(5.0)}, {"click": np.array([0, 1, 0, 1, 1.0])}
    >>> data = data_in_memory({"age": {"kind": "number"}}, {"click": {"kind": "binary"}},
    ...                       {"train": Rows(x, y)}, "five rows")
    >>> for features, labels in data.batches("train", batch_size=3):
    ...     print(features["age"], labels["click"])
    [0. 1. 2.] [0. 1. 0.]
    [3. 4.] [1. 1.]
    """

    features: dict[str, dict]
    tasks: dict[str, dict]
    read: Reader
    description: str
    parts: tuple[str, ...] = PARTS

    def stream(self, part: str) -> Iterator[Rows]:
        """Return the rows of a part in their order, in pieces of any length."""
        check_names([part], self.parts, what="parts")
        return (_typed(rows, self.features) for _, rows in self.read((part,)))

    def batches(
        self,
        part: str,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        buffer_rows: int = BUFFER_ROWS,
    ) -> Iterator[Rows]:
        """Return one epoch of a part, in batches of NumPy arrays.

        Args:
            part: Name of a part.
            batch_size: Rows in a batch; the last one may hold fewer.
            seed: Seed of the order; `None` keeps the order of the rows.
            epoch: Number of the epoch, each with another order.
            buffer_rows: Rows to shuffle at a time. A larger part is shuffled within a window:
                shuffle a file that is sorted by its labels once before.

        Yields:
            Pairs of features and labels, `dict` of name to array each.

        Raises:
            ValueError: If there is no such part, or it is empty.
        """
        check_int("batch_size", batch_size, 1)
        stream = self.stream(part)
        if seed is not None:
            check_int("seed", seed, 0, LARGEST_INT)
            generator = np.random.default_rng((seed, epoch))
            stream = shuffle_rows(stream, buffer_rows, generator)
        return self._never_empty(part, batch_rows(stream, batch_size))

    def dataset(
        self,
        part: str,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        buffer_rows: int = BUFFER_ROWS,
        endless: bool = False,
    ) -> tf.data.Dataset:
        """Return the same batches for Keras' `fit`; pass `shuffle=False` to it.

        Args:
            part: As in `batches`, like the next two.
            batch_size: As in `batches`.
            seed: As in `batches`.
            epoch: Number of the epoch; of the first one, if the dataset is endless.
            buffer_rows: As in `batches`.
            endless: Whether epoch follows epoch. `fit` then needs
                `steps_per_epoch=data.steps(part, batch_size)`.

        Returns:
            A dataset of `(features, labels)` that knows its number of batches: all rows are
            counted, and so checked, first.
        """
        steps = self.steps(part, batch_size)
        arguments = (batch_size, seed)

        def draw() -> Iterator[tuple]:
            epochs = itertools.count(epoch) if endless else [epoch]
            for number in epochs:
                for rows in self.batches(part, *arguments, number, buffer_rows):
                    yield tuple(rows)

        first = next(self.batches(part, 1))
        signature = tuple(
            {name: _signature(array) for name, array in columns.items()} for columns in first
        )
        length = tf.data.INFINITE_CARDINALITY if endless else steps
        batches = tf.data.Dataset.from_generator(draw, output_signature=signature)
        counted = batches.apply(tf.data.experimental.assert_cardinality(length))
        return counted.prefetch(tf.data.AUTOTUNE)

    def whole(self, part: str) -> Rows:
        """Return all rows of a part in memory, in their order."""
        return join_rows(self._never_empty(part, self.stream(part)))

    @functools.cached_property
    def rows(self) -> dict[str, int]:
        """The number of rows of each part; the first access reads all rows."""
        counts = dict.fromkeys(self.parts, 0)
        for part, rows in self.read(self.parts):
            counts[part] += rows.length
        return counts

    def steps(self, part: str, batch_size: int) -> int:
        """Return the number of batches of a part."""
        check_names([part], self.parts, what="parts")
        return -(-self.rows[part] // check_int("batch_size", batch_size, 1))

    def in_memory(self) -> "RecommenderData":
        """Read the data once and return them held in memory, which makes epochs fast."""
        chunks: dict[str, list[Rows]] = {part: [] for part in self.parts}
        for part, rows in self.read(self.parts):
            chunks[part].append(_typed(rows, self.features))
        held = {part: join_rows(pieces) for part, pieces in chunks.items() if pieces}
        return replace(self, read=_memory_reader(held))

    def _never_empty(self, part: str, stream: Iterator[Rows]) -> Iterator[Rows]:
        empty = True
        for rows in stream:
            empty = empty and not rows.length
            yield rows
        if empty:
            raise ValueError(
                f"Expected rows in each part. Received: part={shown(part)} without one, of "
                f"{self.description}. Take more rows, another seed or larger shares."
            )


def data_in_memory(
    features: dict[str, dict], tasks: dict[str, dict], parts: Mapping[str, Rows], description: str
) -> RecommenderData:
    """Make `RecommenderData` of arrays in memory."""
    held = {part: _typed(Rows(*rows), features) for part, rows in parts.items()}
    return RecommenderData(features, tasks, _memory_reader(held), description, tuple(parts))


def _memory_reader(parts: Mapping[str, Rows]) -> Reader:
    return lambda wanted: ((part, rows) for part, rows in parts.items() if part in wanted)


def _typed(rows: Rows, features: Mapping[str, Mapping]) -> Rows:
    """Cast numbers and labels to float32, whole numbers of other features to int64."""

    def typed(name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype == object:
            return array
        ids = name in features and features[name]["kind"] not in ("number", "buckets")
        whole = ids and array.dtype.kind in "biu"
        return array.astype(np.int64 if whole else np.float32, copy=False)

    return Rows(*({name: typed(name, x) for name, x in columns.items()} for columns in rows))


def _signature(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec((None,) * array.ndim, tf.string if array.dtype == object else array.dtype)
