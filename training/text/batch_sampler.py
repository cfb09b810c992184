"""Put examples of similar length into batches of few shapes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.validation import check_int

ROWS_MULTIPLE = 8  # so that the batch axes of meshes of 2, 4 and 8 devices divide every batch


@dataclass(frozen=True)
class Bucket:
    """One shape of batches.

    Attributes:
        rows: Examples in a batch.
        lengths: Tokens to which each sequence of an example is padded.
    """

    rows: int
    lengths: tuple[int, ...]


class BatchSampler:
    """Puts examples of similar length into batches of similar numbers of tokens.

    Examples are sorted by their longest sequence and cut into at most `num_buckets` ranges with the
    least padding. The batches of a bucket have one shape: the greatest lengths in its range, and as
    many rows, in multiples of 8, as `batch_tokens` allows. In each epoch the examples of a bucket
    are shuffled and put into batches; the remaining ones go to the next longer bucket, so that
    every example is in exactly one batch of an epoch, and only the last batch of the longest bucket
    may have empty rows. Then the batches of the epoch are shuffled.

    Every epoch has the same number of batches, and batch n depends only on the arguments and n: a
    run that is interrupted after n steps resumes with batch n.

    Args:
        lengths: `<int>[examples, sequences]`, tokens of each sequence of each example, such as a
            sentence and its translation.
        batch_tokens: Largest number of tokens in a batch, padding included, counted over the
            longest sequence; a batch of long examples has at least 8 rows.
        num_buckets: Largest number of shapes.
        seed: Seed of the order of each epoch; `None` keeps the sorted order, for evaluation.

    Attributes:
        buckets: Shapes of the batches, a list of `Bucket`.
        batches_per_epoch: Number of batches that hold every example once.

    Raises:
        ValueError: If there is no example, or if a number is too small.

    Example:

    >>> sampler = BatchSampler(np.array([[3], [9], [4], [8]] * 8), batch_tokens=72, num_buckets=2)
    >>> [(bucket.rows, bucket.lengths) for bucket in sampler.buckets], sampler.batches_per_epoch
    ([(16, (4,)), (8, (9,))], 3)
    >>> bucket, examples = sampler.batch(0)
    >>> bucket.rows, sorted((examples % 4).tolist())[:3]
    (16, [0, 0, 0])
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_tokens: int,
        num_buckets: int = 8,
        seed: int | None = None,
    ):
        self.lengths = lengths = np.asarray(lengths)
        if not len(lengths):
            raise ValueError("Expected one example or more. Received: none. Give more text.")
        self.batch_tokens = check_int("batch_tokens", batch_tokens, 1)
        self.num_buckets = check_int("num_buckets", num_buckets, 1)
        self.seed = seed
        self._sorted = np.argsort(lengths.max(1), kind="stable")
        widths = np.maximum.accumulate(lengths[self._sorted])  # [examples, sequences]
        cuts = cheapest_cuts(lengths.max(1)[self._sorted], widths.sum(1), num_buckets)
        self._members = np.split(self._sorted, cuts[:-1])
        self.buckets = [self._bucket(widths[cut - 1]) for cut in cuts]
        self._epoch: tuple[int | None, list[tuple[int, np.ndarray]]] = None, []

    def _bucket(self, lengths: np.ndarray) -> Bucket:
        rows = self.batch_tokens // lengths.max() // ROWS_MULTIPLE * ROWS_MULTIPLE
        return Bucket(int(max(rows, ROWS_MULTIPLE)), tuple(map(int, lengths)))

    @cached_property
    def batches_per_epoch(self) -> int:
        """Batches that hold every example once."""
        return len(self._deal(0))

    @cached_property
    def padding_share(self) -> float:
        """Fraction of the tokens of an epoch that are padding."""
        shapes = [self.buckets[number] for number, _ in self._deal(0)]
        return 1 - self.lengths.sum() / sum(shape.rows * sum(shape.lengths) for shape in shapes)

    def batch(self, number: int) -> tuple[Bucket, np.ndarray]:
        """Return the `Bucket` of a batch, and the indices of its examples.

        Args:
            number: Number of the batch, counted over all epochs.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._deal(epoch)
        bucket, examples = self._epoch[1][place]
        return self.buckets[bucket], examples

    def _deal(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        dealt = []
        left_over = np.array([], self._sorted.dtype)
        draws = None
        if self.seed is not None:
            # Raw numbers of this generator are the same in every version of NumPy.
            draws = np.random.Philox(key=[self.seed, epoch])
        for number, (bucket, members) in enumerate(zip(self.buckets, self._members, strict=True)):
            waiting = np.concatenate([left_over, _shuffled(members, draws)])
            is_last = number == len(self.buckets) - 1
            whole = len(waiting) if is_last else len(waiting) // bucket.rows * bucket.rows
            for start in range(0, whole, bucket.rows):
                dealt.append((number, waiting[start : min(start + bucket.rows, whole)]))
            left_over = waiting[whole:]
        order = _shuffled(np.arange(len(dealt)), draws)
        return [dealt[place] for place in order]


def cheapest_cuts(longest: np.ndarray, widths: np.ndarray, num_ranges: int) -> list[int]:
    """Cut sorted examples into the ranges with the fewest tokens, by dynamic programming.

    A range from i to j has `(j - i) * widths[j - 1]` tokens, since it is padded to the width of its
    last example. With b_k(j) the fewest tokens of the first j examples in k ranges,

        b_k(j) = min_i b_{k-1}(i) + (j - i) * widths[j - 1]

    Args:
        longest: `<int>[examples]`, ascending; no range ends between equal ones.
        widths: `<int>[examples]`, ascending.
        num_ranges: Largest number of ranges.

    Returns:
        The ends of the ranges; the last one is the number of examples.

    Example:

    >>> cheapest_cuts(np.array([2, 2, 3, 9]), np.array([2, 2, 3, 9]), 2)
    [3, 4]
    """
    ends = np.append(np.flatnonzero(np.diff(longest)) + 1, len(longest))
    room = widths[ends - 1].astype(np.int64)
    best, chosen = ends * room, []  # one range
    counts = ends[:, np.newaxis] - ends  # [j, i], examples in the range
    costs = np.where(counts > 0, counts * room[:, np.newaxis], np.iinfo(np.int64).max // 2)
    for _ in range(1, min(num_ranges, len(ends))):
        totals = best + costs
        chosen.append(np.argmin(totals, 1))
        best = np.minimum(totals.min(1), np.iinfo(np.int64).max // 2)
    cuts = [len(ends) - 1]
    for step in reversed(chosen):
        cuts.append(int(step[cuts[-1]]))
    return [int(ends[cut]) for cut in reversed(cuts)]


def _shuffled(values: np.ndarray, draws: np.random.Philox | None) -> np.ndarray:
    if draws is None:
        return values
    return values[np.argsort(draws.random_raw(len(values)), kind="stable")]


def sampled_batches(
    batch: Callable[[int], Any], sampler: BatchSampler, start_step: int, endless: bool
) -> tf.data.Dataset:
    """Make a dataset of a sampler's batches.

    Args:
        batch: Function from the number of a batch to nested arrays.
        sampler: Sampler that the function uses.
        start_step: Number of the first batch.
        endless: Whether epoch follows epoch, or the dataset ends after the first one.
    """
    last = None if endless else sampler.batches_per_epoch

    def generate() -> Iterator[Any]:
        number = start_step
        while last is None or number < last:
            yield batch(number)
            number += 1

    signature = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None] * part.ndim, part.dtype), batch(0)
    )
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    count = tf.data.INFINITE_CARDINALITY if last is None else last - start_step
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)
