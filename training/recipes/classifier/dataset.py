"""Labelled texts as token ids, and the batches that a classifier learns from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from moe_zoo.training.text.batch_plan import BatchPlan, plan_batches
from moe_zoo.training.text.ragged_rows import RaggedRows, encode_texts
from moe_zoo.validation import check_int


@dataclass(frozen=True)
class EncodedExamples:
    """Examples as numbers.

    Attributes:
        tokens: `RaggedRows`.
        labels: `<int32>[examples]`.
        shortened: How many texts were cut because they are too long.
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


def encode_examples(tokenizer, examples: Iterable, labels, max_length: int) -> EncodedExamples:
    """Token ids of texts, of which no more than the first `max_length` are kept.

    Args:
        tokenizer: Has `encode` and `pad_id`, as `Tokenizer`.
        examples: Pairs of label and text.
        labels: All labels, in the order of their numbers.
        max_length: Tokens of a text at most.
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
    examples: EncodedExamples, plan: BatchPlan, start_step: int = 0, endless: bool = True
) -> tf.data.Dataset:
    """Batches in the order of a plan. An empty row is padding, of weight 0.

    Args:
        examples: What `encode_examples` gave.
        plan: `BatchPlan(examples.lengths, ...)`.
        start_step: Number of batches to leave out.
        endless: Whether epoch follows epoch, or the dataset ends after one.

    Returns:
        A dataset of `(<int32>[B, T], <int32>[B], <float32>[B])`: tokens, labels and weights.
    """

    def batch(number):
        bucket, places = plan.batch(number)
        tokens = examples.tokens.dense(places, (bucket.rows, *bucket.lengths), examples.pad)
        labels, weights = np.zeros(bucket.rows, np.int32), np.zeros(bucket.rows, np.float32)
        labels[: len(places)], weights[: len(places)] = examples.labels[places], 1.0
        return tokens, labels, weights

    return plan_batches(batch, plan, start_step, endless)
