"""Losses and metrics of sequence models that Keras does not have."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from moe_zoo.validation import LARGEST_SIZE, check_bool, check_int, check_rate


def smoothed_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Compute the cross-entropy with label smoothing over V classes.

    The target of class v is `q_v = (1 - smoothing) * [v = label] + smoothing / V`, so with
    `p = softmax(logits)`

        -sum_v q_v log p_v = -log p_label + smoothing * (logits_label - mean_v logits_v)

    which needs no tensor of targets.

    Args:
        labels: Class indices, `<int>[...]` or `<int>[..., 1]`.
        logits: `<float>[..., V]`; the loss is computed in float32.
        smoothing: Weight from 0 to 1 that all classes share.

    Returns:
        `<float32>[...]`.
    """
    logits = ops.cast(logits, "float32")
    if len(labels.shape) == len(logits.shape):  # [..., 1], as Keras' own losses take it too
        labels = ops.squeeze(labels, -1)
    loss = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    if smoothing:
        chosen = tf.gather(logits, labels, batch_dims=len(labels.shape))
        loss += smoothing * (chosen - ops.mean(logits, axis=-1))
    return loss


@keras.saving.register_keras_serializable("moe_zoo")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of integer labels with label smoothing.

    The default reduction divides by the sum of the sample weights. With a weight of 0 for padding,
    every real token counts the same, however much padding its batch has.

    Args:
        smoothing: Weight that is taken from the label and shared by all classes.
        name: Name of the loss.
        reduction: Reduction over the batch, one of Keras' names.
        **kwargs: `dtype`, by default float32.

    Raises:
        ValueError: If `smoothing` is below 0, or 1 and above.

    Example:

    >>> loss = SmoothedCrossEntropy(0.1)
    >>> round(float(loss([2], [[0.0, 0.0, 0.0, 0.0]])), 4)  # log 4
    1.3863

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision",
    section 7.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        name: str = "smoothed_cross_entropy",
        reduction: str | None = "mean_with_sample_weight",
        **kwargs: Any,
    ):
        self.smoothing = check_rate("smoothing", smoothing, "0.1 is common.")
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32", **kwargs})

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Compute the loss of each label."""
        return smoothed_cross_entropy(ops.cast(y_true, "int32"), y_pred, self.smoothing)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal loss."""
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="moe_zoo")
class Perplexity(keras.metrics.SparseCategoricalCrossentropy):
    """Perplexity: `exp` of the mean cross-entropy of the targets, in nats per token.

    Args:
        name: Name of the metric.
        from_logits: Whether predictions are logits.
        axis: Axis of the classes.
        **kwargs: `dtype`.

    Example:

    >>> metric = Perplexity()
    >>> metric.update_state(keras.ops.array([1]), keras.ops.zeros((1, 5)))
    >>> round(float(metric.result()), 3)  # uniform over five
    5.0
    """

    def __init__(
        self, name: str = "perplexity", from_logits: bool = True, axis: int = -1, **kwargs: Any
    ):
        super().__init__(
            name=name,
            from_logits=check_bool("from_logits", from_logits),
            axis=check_int("axis", axis, least=-LARGEST_SIZE),
            **kwargs,
        )

    def result(self) -> tf.Tensor:
        """Return the perplexity so far."""
        return keras.ops.exp(super().result())
