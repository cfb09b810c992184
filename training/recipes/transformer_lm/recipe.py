"""The recipe of the Transformer language model and of its FLOP-matched dense baseline."""

import keras

from moe_zoo.models import TransformerLanguageModel
from moe_zoo.training.optim.losses import Perplexity
from moe_zoo.training.recipes.language_model_recipe import LanguageModelRecipe
from moe_zoo.training.recipes.routers import DENSE
from moe_zoo.training.recipes.transformer_parts import (
    check_routers,
    compile_model,
    make_layers,
    set_capacities,
)

from .settings import TransformerLMSettings


class TransformerLMRecipe(LanguageModelRecipe):
    """Trains Transformer language models, and compares them with a dense baseline.

    Args:
        settings: Settings of the recipe.
        compare: Whether to train the FLOP-matched dense baseline too.
        prompts: Texts that the exported model continues at the end.
    """

    settings: TransformerLMSettings

    def check(self, compare: bool) -> None:
        """Refuse settings that no model can be made of."""
        check_settings(self.settings, compare)

    def make_model(self, variant: str, on_mesh: bool) -> TransformerLanguageModel:
        """Make the mixture or its dense baseline."""
        make = make_dense_baseline if variant == DENSE else make_model
        return make(self.settings, self.tokenizer.vocabulary_size)

    def adapt(self, model: TransformerLanguageModel, on_mesh: bool) -> TransformerLanguageModel:
        """Give routers the capacities of a mesh, or of one device."""
        return set_capacities(model, self.settings, on_mesh)


def check_settings(settings: TransformerLMSettings, compare: bool = False) -> None:
    """Refuse settings that no model can be made of, before any work is done.

    Args:
        settings: Settings of the recipe.
        compare: Whether the dense baseline is needed too.

    Raises:
        ValueError: If `top_k` is greater than the number of experts, or if a dense model is to be
            compared with its dense baseline.
    """
    check_routers(settings, [settings.router])
    if compare and settings.router == DENSE:
        raise ValueError(
            "Expected a model with a mixture of experts for --compare. Received: router='dense', "
            "which is a dense baseline. Leave --compare out, or use another router."
        )


def make_model(settings: TransformerLMSettings, vocabulary_size: int) -> TransformerLanguageModel:
    """Make and compile the model of the settings.

    Args:
        settings: Settings of the recipe.
        vocabulary_size: Size of the vocabulary.

    Raises:
        ValueError: If `top_k` is greater than the number of experts.
    """
    return _compile(_model(settings, vocabulary_size), settings)


def make_dense_baseline(
    settings: TransformerLMSettings, vocabulary_size: int
) -> TransformerLanguageModel:
    """Make the settings' model with a dense layer in place of each mixture, at the same FLOPs.

    Args:
        settings: Settings with a router.
        vocabulary_size: Size of the vocabulary.

    Raises:
        ValueError: If the settings' model has no mixture.
    """
    check_settings(settings, compare=True)
    model = _model(settings, vocabulary_size)
    keras.utils.set_random_seed(settings.seed)
    config = {**model.dense_baseline().get_config(), "name": DENSE}
    return _compile(TransformerLanguageModel.from_config(config), settings)


def _model(settings: TransformerLMSettings, vocabulary_size: int) -> TransformerLanguageModel:
    keras.utils.set_random_seed(settings.seed)
    layers = make_layers(settings, settings.router)
    return TransformerLanguageModel(vocabulary_size, name=settings.router, **layers)


def _compile(
    model: TransformerLanguageModel, settings: TransformerLMSettings
) -> TransformerLanguageModel:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compile_model(model, settings, loss, Perplexity())
