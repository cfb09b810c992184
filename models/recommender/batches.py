"""Batches for `fit`, `evaluate` and `predict`: pipelines, generators, other iterables."""

import itertools
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import keras
import tensorflow as tf

PIPELINES = (tf.data.Dataset, tf.distribute.DistributedDataset)
ONCE = (
    "Expected batches for another pass. Received: a generator that has ended. Give steps with a "
    "generator without an end, or a tf.data.Dataset or keras.utils.PyDataset, which start anew."
)


class ReadBatches(keras.utils.PyDataset):
    """Batches of another `PyDataset`, converted to tensors.

    Args:
        source: `keras.utils.PyDataset`.
        read: function of a batch.
    """

    def __init__(self, source: keras.utils.PyDataset, read: Callable[[Any], Any]):
        if source.use_multiprocessing:
            warnings.warn(
                "Expected a PyDataset of threads. Received: use_multiprocessing=True. Its batches "
                "are read by threads, since TensorFlow cannot make tensors in a forked process.",
                stacklevel=5,
            )
        super().__init__(workers=source.workers, max_queue_size=source.max_queue_size)
        self.source, self.read = source, read

    @property
    def num_batches(self) -> int | None:
        return self.source.num_batches

    def __getitem__(self, index: int) -> Any:
        return self.read(self.source[index])

    def on_epoch_begin(self) -> None:
        self.source.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.source.on_epoch_end()


def is_batches(x: Any) -> bool:
    """Return whether data are batches, and not one table in memory."""
    if isinstance(x, (*PIPELINES, keras.utils.PyDataset, types.GeneratorType)):
        return True
    table = isinstance(x, Mapping | list | tuple | str | bytes) or hasattr(x, "columns")
    return not table and hasattr(x, "__iter__") and not hasattr(x, "shape")


def batches_of(data: Any) -> Iterable:
    """Return batches to iterate over in Python, those of a `PyDataset` in their order."""
    if not isinstance(data, keras.utils.PyDataset):
        return data
    return (data[i] for i in itertools.islice(itertools.count(), data.num_batches))


def dataset_of(batches: Iterable, read: Callable[[Any], Any]) -> tf.data.Dataset:
    """Return the batches of an iterable, converted, as a `tf.data.Dataset`.

    Args:
        batches: iterable; one that is an iterator is read once.
        read: function of a batch to nested tensors, alike in all but their sizes.
    """
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise ValueError(
            f"Expected at least one batch. Received: an empty {type(batches).__name__}. Check what "
            "it reads."
        )
    first = read(first)
    if iterator is not batches:  # it starts anew for each pass

        def draw() -> Iterator:
            yield from map(read, batches)

    else:
        waiting = [first]

        def draw() -> Iterator:
            if not waiting and (batch := next(iterator, None)) is None:
                raise ValueError(ONCE)
            yield waiting.pop() if waiting else read(batch)
            yield from map(read, iterator)

    signature = keras.tree.map_structure(_spec, first)
    dataset = tf.data.Dataset.from_generator(draw, output_signature=signature)
    if iterator is not batches and isinstance(batches, Sized):
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _spec(values: Any) -> Any:
    if isinstance(values, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None] * values.shape.rank, values.dtype, values.ragged_rank)
    return tf.TensorSpec([None] * values.shape.rank, values.dtype)
