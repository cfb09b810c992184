"""Logits of outputs, from which losses and metrics are computed."""

from collections.abc import Callable

import keras
import tensorflow as tf


def logits_of(outputs: tf.Tensor, inverse: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Return the logits that Keras keeps with an activation's output, else its inverse."""
    logits = getattr(outputs, "_keras_logits", None)
    return inverse(outputs) if logits is None else logits


def clip(probabilities: tf.Tensor) -> tf.Tensor:
    """Clip probabilities by Keras' epsilon."""
    epsilon = keras.config.epsilon()
    return tf.clip_by_value(probabilities, epsilon, 1 - epsilon)


def logit(probabilities: tf.Tensor) -> tf.Tensor:
    """Return the logit of probabilities: `log p - log(1 - p)`."""
    probabilities = clip(probabilities)
    return tf.math.log(probabilities) - tf.math.log1p(-probabilities)
