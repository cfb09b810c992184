"""The loss of one task over the rows that have its label."""

from typing import Any

import tensorflow as tf

from .tasks import Task


def for_keras(
    task: Task, y: dict[str, Any], y_pred: dict[str, Any], sample_weight: dict[str, Any]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return labels, outputs and weights of a task as Keras' losses accept them.

    Keras divides by all rows. The weight 0 of a row without a label, and `B / n` of the `n` others,
    make that the mean over the rows with a label.

    Args:
        task: the `Task`.
        y: `dict` of labels by task.
        y_pred: `dict` of outputs by task.
        sample_weight: `dict` of sample weights by task, or of `None`.

    Returns:
        `<any>[B, 1]`, `<float32>[B, 1]` or `[B, C]`, and `<float32>[B]`.
    """
    labels, present = task.read(y[task.name])
    outputs, weight = y_pred[task.name], tf.cast(present, tf.float32)
    weight *= tf.math.divide_no_nan(tf.cast(tf.size(weight), tf.float32), tf.reduce_sum(weight))
    if sample_weight[task.name] is not None:
        weight *= tf.reshape(tf.cast(sample_weight[task.name], tf.float32), [-1])
    if task.units > 1:
        return labels, outputs, weight
    column = outputs[:, None]
    if hasattr(outputs, "_keras_logits"):
        column._keras_logits = outputs._keras_logits[:, None]
    return labels[:, None], column, weight


def task_loss(
    task: Task,
    labels: tf.Tensor,
    outputs: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    log_variance: tf.Tensor | None = None,
) -> tf.Tensor:
    """Compute the loss of one task: the mean over the rows with its label; see `TaskModel`.

    Args:
        task: the `Task`.
        labels: `<any>[B]`.
        outputs: `<float32>[B]` or `[B, C]`.
        sample_weight: `<float>[B]`, or `None`.
        log_variance: `<float32>[]`, or `None` without a learned weight.

    Returns:
        `<float32>[]`.
    """
    task.check(labels)
    labels, present = task.read(labels)
    losses = task.row_losses(labels, outputs)
    if log_variance is not None:
        losses = task.uncertainty_scale * tf.exp(-log_variance) * losses + log_variance / 2
    if sample_weight is not None:
        losses *= tf.reshape(tf.cast(sample_weight, losses.dtype), [-1])
    total = tf.reduce_sum(tf.where(present, losses, tf.zeros_like(losses)))
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(present, losses.dtype)))
