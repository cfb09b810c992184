"""Pairs of texts as token ids, and batches for a translation model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.training.text.batch_sampler import BatchSampler, sampled_batches
from moe_zoo.training.text.ragged_rows import RaggedRows, encode_texts
from moe_zoo.validation import check_int


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs as token ids, without special tokens.

    Attributes:
        source: `RaggedRows`.
        target: `RaggedRows`, as many.
        dropped: Number of pairs that were dropped because they are too long.
        special: Ids of padding, of the begin and of the end of a text.
    """

    source: RaggedRows
    target: RaggedRows
    dropped: int
    special: tuple[int, int, int]

    @property
    def lengths(self) -> np.ndarray:
        """`<int64>[pairs, 2]`, tokens of source and target as a model is fed them."""
        return np.stack([self.source.lengths, self.target.lengths], 1) + 1


def encode_pairs(tokenizer: Any, pairs: Iterable[Sequence[str]], max_length: int) -> EncodedPairs:
    """Turn pairs into token ids, and drop those with a text of `max_length` tokens or more.

    Args:
        tokenizer: `Tokenizer`, or an object with its `encode`, `pad_id`, `begin_id` and `end_id`.
        pairs: Pairs of source and target text.
        max_length: Largest number of tokens of a text with its end; longer pairs are dropped.

    Raises:
        ValueError: If no pair is left.
    """
    check_int("max_length", max_length, 2)
    pairs = list(pairs)
    source, target = (encode_texts(tokenizer, [pair[i] for pair in pairs]) for i in (0, 1))
    kept = (source.lengths < max_length) & (target.lengths < max_length)
    if not kept.any():
        raise ValueError(
            f"Expected pairs of fewer than {max_length} tokens each. Received: {len(pairs)} pairs, "
            "none of them so short. Give a larger max_length, or shorter texts."
        )
    special = tokenizer.pad_id, tokenizer.begin_id, tokenizer.end_id
    places = np.flatnonzero(kept)
    return EncodedPairs(source.take(places), target.take(places), len(pairs) - len(places), special)


def translation_batches(
    pairs: EncodedPairs, sampler: BatchSampler, start_step: int = 0, endless: bool = True
) -> tf.data.Dataset:
    """Make batches that a translation model learns from.

    With source ids s and target ids t of a pair: the source is `s, end`, the target that the
    decoder gets `begin, t`, the labels `t, end`, each padded with weight 0. An empty row is all
    padding; of its target a model that keeps the first token, since T5's begin token is the
    padding token, routes that one.

    Args:
        pairs: Pairs from `encode_pairs`.
        sampler: `BatchSampler(pairs.lengths, ...)`, which decides the order.
        start_step: Number of batches to skip.
        endless: Whether epoch follows epoch, or the dataset ends after one.

    Returns:
        A dataset of `({"source": <int32>[B, S], "target": <int32>[B, T]}, <int32>[B, T],
        <float32>[B, T])`.

    Example:

    >>> rows = RaggedRows.from_lists([[5, 6], [7]])
    >>> pairs = EncodedPairs(rows, rows, dropped=0, special=(0, 1, 2))
    >>> batches = translation_batches(pairs, BatchSampler(pairs.lengths, 24, 1), endless=False)
    >>> inputs, labels, weights = next(iter(batches))
    >>> print(inputs["source"][0].numpy(), inputs["target"][0].numpy(), labels[0].numpy())
    [7 2 0] [1 7 0] [7 2 0]
    """
    pad, begin, end = pairs.special

    def batch(number: int) -> tuple:
        bucket, examples = sampler.batch(number)
        shapes = [(bucket.rows, length) for length in bucket.lengths]
        source = pairs.source.dense(examples, shapes[0], pad, after=end)
        labels = pairs.target.dense(examples, shapes[1], pad, after=end)
        target = pairs.target.dense(examples, shapes[1], pad, before=begin)
        lengths = pairs.target.lengths[examples] + 1
        weights = np.zeros(shapes[1], np.float32)
        weights[: len(examples)] = np.arange(shapes[1][1]) < lengths[:, np.newaxis]
        return {"source": source, "target": target}, labels, weights

    return sampled_batches(batch, sampler, start_step, endless)
