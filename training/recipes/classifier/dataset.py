"""Labelled texts as token ids, and batches for a classifier."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from moe_zoo.training.text.batch_sampler import BatchSampler, sampled_batches
from moe_zoo.training.text.ragged_rows import RaggedRows, encode_texts
from moe_zoo.validation import check_int


@dataclass(frozen=True)
class EncodedExamples:
    """Examples as numbers.

    Attributes:
        tokens: `RaggedRows`.
        labels: `<int32>[examples]`.
        shortened: Number of texts that were cut.
        pad: Id of padding.
    """

    tokens: RaggedRows
    labels: np.ndarray
    shortened: int
    pad: int

    @property
    def lengths(self) -> np.ndarray:
        """`<int64>[examples, 1]`."""
        return self.tokens.lengths[:, np.newaxis]


def encode_examples(
    tokenizer: Any, examples: Iterable[Sequence[str]], labels: Sequence[str], max_length: int
) -> EncodedExamples:
    """Turn texts into token ids, and cut them after `max_length` tokens.

    Args:
        tokenizer: `Tokenizer`, or an object with its `encode` and `pad_id`.
        examples: Pairs of label and text.
        labels: All labels, in the order of their numbers.
        max_length: Largest number of tokens of a text.
    """
    check_int("max_length", max_length, 1)
    examples = list(examples)
    numbers = {label: number for number, label in enumerate(labels)}
    tokens = encode_texts(tokenizer, [text for _, text in examples])
    return EncodedExamples(
        tokens.cut(max_length),
        np.array([numbers[label] for label, _ in examples], np.int32),
        int(np.sum(tokens.lengths > max_length)),
        tokenizer.pad_id,
    )


def classifier_batches(
    examples: EncodedExamples, sampler: BatchSampler, start_step: int = 0, endless: bool = True
) -> tf.data.Dataset:
    """Make batches that a classifier learns from. Empty rows have weight 0.

    Args:
        examples: Examples from `encode_examples`.
        sampler: `BatchSampler(examples.lengths, ...)`, which decides the order.
        start_step: Number of batches to skip.
        endless: Whether epoch follows epoch, or the dataset ends after one.

    Returns:
        A dataset of `(<int32>[B, T], <int32>[B], <float32>[B])`: tokens, labels and weights.
    """

    def batch(number: int) -> tuple:
        bucket, places = sampler.batch(number)
        tokens = examples.tokens.dense(places, (bucket.rows, *bucket.lengths), examples.pad)
        labels, weights = np.zeros(bucket.rows, np.int32), np.zeros(bucket.rows, np.float32)
        labels[: len(places)], weights[: len(places)] = examples.labels[places], 1.0
        return tokens, labels, weights

    return sampled_batches(batch, sampler, start_step, endless)
