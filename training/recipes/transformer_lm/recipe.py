"""The recipe of the Transformer language model and of its dense twin."""

import keras

from moe_zoo.models import TransformerLanguageModel
from moe_zoo.training.optim.metrics import Perplexity
from moe_zoo.training.recipes.recipe import LanguageModelRecipe
from moe_zoo.training.recipes.transformer_parts import (
    check_routers,
    compile_transformer,
    make_layers,
    set_capacities,
)
from moe_zoo.training.recipes.transformer_settings import DENSE


def check_settings(settings, compare=False):
    """Refuses settings that no model can be made of, before any work is done.

    Args:
        settings: `TransformerLMSettings`.
        compare: `bool`, whether the dense twin is wanted too.

    Raises:
        ValueError: `top_k` above the number of experts, or a twin of a model without a mixture.
    """
    check_routers(settings, [settings.router])
    if compare and settings.router == DENSE:
        raise ValueError(
            "Expected a model with a mixture of experts for --compare. Received: "
            "router='dense', a dense baseline itself. Leave --compare out, or take another router."
        )


def make_model(settings, vocabulary_size, for_mesh=False):
    """The model of the settings, compiled.

    Args:
        settings: `TransformerLMSettings`.
        vocabulary_size: `int`.
        for_mesh: `bool`, with routers with a capacity, as a mesh needs them.

    Raises:
        ValueError: `top_k` above the number of experts.
    """
    return _compile(_model(settings, vocabulary_size, settings.router), settings, for_mesh)


def make_dense_twin(settings, vocabulary_size, for_mesh=False):
    """The settings' model with a dense layer in place of each mixture, as many products per token.

    Args:
        settings: `TransformerLMSettings` with a router.
        vocabulary_size: `int`.
        for_mesh: `bool`, as in `make_model`.

    Raises:
        ValueError: the settings' model has no mixture.
    """
    check_settings(settings, compare=True)
    model = _model(settings, vocabulary_size, settings.router)
    keras.utils.set_random_seed(settings.seed)
    twin = TransformerLanguageModel.from_config({**model.dense_twin().get_config(), "name": DENSE})
    return _compile(twin, settings, for_mesh)


def for_one_device(model, settings):
    """A model as it is without a mesh: evaluation dropless."""
    return set_capacities(model, settings)


def _model(settings, vocabulary_size, router):
    keras.utils.set_random_seed(settings.seed)
    layers = make_layers(settings, router)
    return TransformerLanguageModel(vocabulary_size, name=router, **layers)


def _compile(model, settings, for_mesh):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = compile_transformer(model, settings, loss, [Perplexity()])
    return set_capacities(model, settings, for_mesh)


TRANSFORMER_LM = LanguageModelRecipe(check_settings, make_model, make_dense_twin, for_one_device)
