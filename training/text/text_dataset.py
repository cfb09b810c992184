"""Make streams of tokens, and the batches that train and evaluate a language model."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.models.tokenizers.vocabulary import BEGIN_ID, PAD_ID
from moe_zoo.models.tokenizers.words import split_lines
from moe_zoo.validation import LARGEST_INT, check_int

from .corpus import Document

MOST_TOKENS = 2**28  # in a batch: a gigabyte of ids
LAST_EPOCH = 2**61  # never reached


def encode_documents(tokenizer: Tokenizer, documents: Iterable[Document]) -> np.ndarray:
    """Encode documents as one stream of tokens, with `[BOS]` before each document.

    Args:
        tokenizer: Tokenizer that encodes the text.
        documents: Pairs of name and text.

    Returns:
        `<int32>[tokens]`.

    Raises:
        ValueError: If there is no document.
    """
    begin = np.array([BEGIN_ID], np.int32)
    stream: list[np.ndarray] = []
    for _, text in documents:
        stream.append(begin)
        stream.extend(tokenizer.encode([chunk]).flat_values.numpy() for chunk in split_lines(text))
    if not stream:
        raise ValueError("Expected one document or more. Received: documents=[]. Give more text.")
    return np.concatenate(stream)


def language_model_batches(
    tokens: np.ndarray, batch_size: int, sequence_length: int, seed: int, start_step: int = 0
) -> tf.data.Dataset:
    """Make endless training batches: windows of the stream in a new order in every epoch.

    With L tokens and windows of T, an epoch has `N = L // T` adjacent windows of the stream, which
    wraps around, starting from a new random offset in each epoch. Window i holds the tokens from
    `offset + i * T` to `offset + (i + 1) * T`, both included, the last one only as a target. So
    each token is an input once in an epoch, except for fewer than T tokens, which differ from epoch
    to epoch. A batch may hold the last windows of one epoch and the first ones of the next.

    Batch n depends only on the arguments and n: a run that stops after n steps resumes with
    `start_step=n` as if it had not been interrupted.

    Args:
        tokens: Tokens from `encode_documents`, `<int32>[L]`.
        batch_size: Windows in a batch, B.
        sequence_length: Tokens in a window, T.
        seed: Seed of all orders and offsets, an integer of at least 0.
        start_step: Number of batches to skip.

    Returns:
        A dataset of `(inputs <int32>[B, T], targets <int32>[B, T])`; targets are one token ahead.

    Raises:
        ValueError: If there are fewer tokens than one batch needs, or if a batch is too large for
            memory.

    Example:

    >>> batches = language_model_batches(np.arange(100), batch_size=2, sequence_length=5, seed=0)
    >>> inputs, targets = next(iter(batches))
    >>> inputs.shape, bool(tf.reduce_all(targets[:, :-1] == inputs[:, 1:]))
    (TensorShape([2, 5]), True)
    """
    _check_sizes(batch_size, sequence_length)
    check_int("seed", seed, 0, LARGEST_INT)
    check_int("start_step", start_step, 0)
    length = len(tokens)
    windows = length // sequence_length
    if windows < batch_size:
        raise ValueError(
            f"Expected at least {batch_size * sequence_length:,} tokens, one batch of {batch_size} "
            f"windows of {sequence_length}. Received: tokens of length {length:,}. Give more text, "
            "or a smaller batch_size or sequence_length."
        )

    with tf.device("CPU:0"):
        stream = tf.constant(tokens, tf.int32)

    def window_starts(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.argsort(_draw(windows, seed, 2 * epoch), stable=True)
        offset = _draw(1, seed, 2 * epoch + 1) % length
        starts = (offset + tf.cast(order, tf.int64) * sequence_length) % length
        return tf.data.Dataset.from_tensor_slices(starts)

    def batch(starts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        places = starts[:, tf.newaxis] + tf.range(sequence_length + 1, dtype=tf.int64)
        rows = tf.gather(stream, places % length)  # [B, T + 1]
        return rows[:, :-1], rows[:, 1:]

    first_epoch, seen = divmod(start_step * batch_size, windows)
    epochs = tf.data.Dataset.range(first_epoch, LAST_EPOCH)
    starts = epochs.flat_map(window_starts).skip(seen).batch(batch_size, drop_remainder=True)
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return starts.map(batch).apply(endless).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    tokens: np.ndarray, batch_size: int, sequence_length: int
) -> tf.data.Dataset:
    """Make evaluation batches: every token but the first is a target exactly once, in order.

    The last batch is padded with `[PAD]` of weight 0, so that all batches have one shape.
    `weighted_metrics` use the weights; the loss that Keras' `evaluate` shows divides by the number
    of tokens with padding.

    Args:
        tokens: Tokens from `encode_documents`, `<int32>[L]`.
        batch_size: Windows in a batch, B.
        sequence_length: Tokens in a window, T.

    Returns:
        A dataset of `ceil((L - 1) / (B * T))` batches `(inputs <int32>[B, T],
        targets <int32>[B, T], weights <float32>[B, T])`.

    Raises:
        ValueError: If there are fewer than two tokens, or if a batch is too large for memory.

    Example:

    >>> for inputs, targets, weights in evaluation_batches(np.arange(1, 7), 1, 3):
    ...     print(inputs.numpy(), targets.numpy(), weights.numpy())
    [[1 2 3]] [[2 3 4]] [[1. 1. 1.]]
    [[4 5 6]] [[5 6 0]] [[1. 1. 0.]]
    """
    _check_sizes(batch_size, sequence_length)
    predictions = len(tokens) - 1
    if predictions < 1:
        raise ValueError(
            f"Expected at least 2 tokens to evaluate. Received: tokens of length {len(tokens)}. "
            "Give more text."
        )
    batches = -(-predictions // (batch_size * sequence_length))
    shape = (batches, batch_size, sequence_length)
    padded = np.full(batches * batch_size * sequence_length + 1, PAD_ID, np.int32)
    padded[: len(tokens)] = tokens
    weights = (np.arange(padded.size - 1) < predictions).astype(np.float32)
    arrays = (padded[:-1].reshape(shape), padded[1:].reshape(shape), weights.reshape(shape))
    with tf.device("CPU:0"):
        return tf.data.Dataset.from_tensor_slices(arrays).prefetch(tf.data.AUTOTUNE)


def _draw(size: int, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Draw random numbers that depend only on the arguments, `<int64>[size]`."""
    return tf.random.stateless_uniform(
        [size], [seed, number], minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )


def _check_sizes(batch_size: int, sequence_length: int) -> None:
    check_int("batch_size", batch_size, 1)
    check_int("sequence_length", sequence_length, 1)
    if batch_size * sequence_length > MOST_TOKENS:
        raise ValueError(
            f"Expected a batch of at most {MOST_TOKENS:,} tokens. Received: "
            f"batch_size={batch_size}, sequence_length={sequence_length}. Lower one of them."
        )
