"""The recipe of a translation model: one Transformer for each way to route, and one without."""

import keras

from moe_zoo.models import TransformerSeq2Seq
from moe_zoo.training.optim.losses import SmoothedCrossEntropy
from moe_zoo.training.optim.metrics import Perplexity
from moe_zoo.training.recipes.transformer_parts import compile_transformer, make_layers


def make_translation_model(settings, vocabulary_size, router):
    """A `TransformerSeq2Seq`, compiled, with as many products per token whatever the router.

    Args:
        settings: `TranslationSettings`.
        vocabulary_size: `int`.
        router: one of `MIXTURES`.

    Raises:
        ValueError: `top_k` above the number of experts.
    """
    keras.utils.set_random_seed(settings.seed)
    layers = make_layers(settings, router)
    model = TransformerSeq2Seq(vocabulary_size, begins_with_padding=False, name=router, **layers)
    loss = SmoothedCrossEntropy(settings.label_smoothing)
    return compile_transformer(model, settings, loss, [Perplexity()])
