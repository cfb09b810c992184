"""Metrics of language models."""

import keras

from moe_zoo.validation import check_bool


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
