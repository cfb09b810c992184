"""The recipe of a text classifier: one Transformer for each way to route, and one without."""

import keras

from moe_zoo.models import TransformerClassifier
from moe_zoo.training.optim.losses import SmoothedCrossEntropy
from moe_zoo.training.recipes.transformer_parts import compile_transformer, make_layers


def make_classifier(settings, vocabulary_size, num_classes, router):
    """A `TransformerClassifier`, compiled, with as many products per token whatever the router.

    Args:
        settings: `ClassifierSettings`.
        vocabulary_size: `int`.
        num_classes: `int`.
        router: one of `MIXTURES`.

    Raises:
        ValueError: `top_k` above the number of experts.
    """
    keras.utils.set_random_seed(settings.seed)
    layers = make_layers(settings, router)
    model = TransformerClassifier(vocabulary_size, num_classes, name=router, **layers)
    loss = SmoothedCrossEntropy(settings.label_smoothing)
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return compile_transformer(model, settings, loss, metrics)
