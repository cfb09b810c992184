"""Losses of language models that leave padding out."""

from typing import Any

import keras
import tensorflow as tf


class PaddedTargets(keras.Model):
    """A model of the next token whose compiled losses and metrics leave padded targets out.

    In `fit`, `evaluate`, `train_on_batch` and `compute_loss` a position counts if its target is not
    `pad_id` and a real token stands at it or before it, so that the loss of a row does not depend
    on how it is padded. Sample weights of rows, `[B]`, weigh what counts; those of tokens,
    `[B, T]`, decide alone. A loss that is called by hand knows nothing of padding: give it
    `sample_weight=targets != pad_id`, and `reduction="mean_with_sample_weight"`.

    A subclass sets `pad_id`, `None` for texts without padding, and fills in `real_tokens`.
    """

    def real_tokens(self, inputs: Any) -> tf.Tensor | None:
        """Return which tokens of the inputs are no padding: `<bool>[B, T]`, or `None` for all."""
        raise NotImplementedError(f"{type(self).__name__} has to define real_tokens().")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the loss of `compile` and what layers add; see the class."""
        sample_weight = of_rows(sample_weight)
        of_tokens = are_of_tokens(sample_weight)
        if self.pad_id is not None and y is not None and of_tokens is not True:
            counted = real_targets(y, y_pred, self.pad_id)
            if x is not None:
                begun = tf.cumsum(tf.cast(self.real_tokens(x), tf.int32), axis=1) > 0
                counted = tf.logical_and(counted, begun)
            # Which Keras' losses and metrics heed.
            y_pred._keras_mask = tf.logical_or(counted, of_tokens)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Return the metrics of `compile`, after `compute_loss`; see the class."""
        return super().compute_metrics(x, y, y_pred, of_rows(sample_weight))


def are_of_tokens(sample_weight: Any) -> bool | tf.Tensor:
    """Tell whether each token has a weight, `[B, T]`; a `<bool>[]` if only a run can tell."""
    if sample_weight is None:
        return False
    width = sample_weight.shape[1]
    return tf.shape(sample_weight)[1] != 1 if width is None else width != 1


def of_rows(sample_weight: Any) -> tf.Tensor | None:
    """Return weights `[B]` as `[B, 1]`, which Keras can multiply by a mask; others as they are."""
    if sample_weight is None:
        return None
    sample_weight = tf.convert_to_tensor(sample_weight)
    if sample_weight.shape.rank == 2:
        return sample_weight
    if sample_weight.shape.rank == 1:
        return tf.expand_dims(sample_weight, 1)
    # `fit` or `evaluate` had weights of rows in one call, and of tokens in another.
    return tf.reshape(sample_weight, [tf.shape(sample_weight)[0], -1])


def real_targets(targets: Any, logits: tf.Tensor, pad_id: int) -> tf.Tensor:
    """Return which targets are no padding.

    Args:
        targets: `<int>[B, T]` or `<int>[B, T, 1]`, ids, or `<float>[B, T, V]`, their probabilities.
        logits: `<float>[B, T, V]`.
        pad_id: `int`.

    Returns:
        `<bool>[B, T]`.

    Example:

    >>> real_targets(tf.constant([[7, 0]]), tf.zeros([1, 2, 9]), pad_id=0).numpy()
    array([[ True, False]])
    """
    targets = tf.convert_to_tensor(targets)
    if targets.shape.rank == logits.shape.rank:
        ids = targets.shape[-1] == 1
        targets = tf.squeeze(targets, -1) if ids else tf.argmax(targets, -1)
    return tf.not_equal(targets, tf.cast(pad_id, targets.dtype))
