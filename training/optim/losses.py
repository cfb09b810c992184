"""Losses and metrics of sequence models that Keras does not have."""

import keras
import tensorflow as tf
from keras import ops

from moe_zoo.validation import check_bool, check_rate


def smoothed_cross_entropy(labels, logits, smoothing):
    """Cross-entropy against labels that share a part of their weight with all V classes.

    The target of class v is `q_v = (1 - smoothing) * [v = label] + smoothing / V`, so with
    `p = softmax(logits)`

        -sum_v q_v log p_v = -log p_label + smoothing * (logits_label - mean_v logits_v)

    which needs no tensor of targets.

    Args:
        labels: `<int>[...]` or `<int>[..., 1]`.
        logits: `<float>[..., V]`; computed with in float32.
        smoothing: `float`, from 0 to 1.

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
    """Cross-entropy of whole-number labels with label smoothing, a mean over weights.

    With the weights 0 of padding left out of sum and count, every real token counts as much,
    however full its batch is.

    Args:
        smoothing: `float`, weight that is taken from the label and shared by all classes.
        name: `str`.
        **kwargs: `dtype`.

    Raises:
        ValueError: a smoothing below 0, or of 1 and above.

    Example:

    >>> loss = SmoothedCrossEntropy(0.1)
    >>> round(float(loss([2], [[0.0, 0.0, 0.0, 0.0]])), 4)  # log 4
    1.3863

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision",
    section 7.
    """

    def __init__(self, smoothing=0.0, name="smoothed_cross_entropy", **kwargs):
        self.smoothing = check_rate("smoothing", smoothing, "0.1 is common.")
        kwargs = {"reduction": "mean_with_sample_weight", "dtype": "float32", **kwargs}
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return smoothed_cross_entropy(ops.cast(y_true, "int32"), y_pred, self.smoothing)

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="moe_zoo")
class Perplexity(keras.metrics.SparseCategoricalCrossentropy):
    """`exp` of the mean cross-entropy of the targets, in nats per token.

    Args:
        name: `str`.
        from_logits: `bool`, whether predictions are logits.
        **kwargs: further arguments of `keras.metrics.SparseCategoricalCrossentropy`.

    Example:

    >>> metric = Perplexity()
    >>> metric.update_state(keras.ops.array([1]), keras.ops.zeros((1, 5)))
    >>> round(float(metric.result()), 3)  # uniform over five
    5.0
    """

    def __init__(self, name="perplexity", from_logits=True, **kwargs):
        from_logits = check_bool("from_logits", from_logits)
        super().__init__(name=name, from_logits=from_logits, **kwargs)

    def result(self):
        return keras.ops.exp(super().result())
