"""The recipe of the LSTM language model and of its FLOP-matched dense baseline."""

from typing import Any

import keras

from moe_zoo.models import LSTM_LANGUAGE_MODELS, LSTMLanguageModel, dense_block, find_preset
from moe_zoo.routers import TokenChoiceRouter
from moe_zoo.training.optim.losses import Perplexity
from moe_zoo.training.recipes.language_model_recipe import LanguageModelRecipe
from moe_zoo.training.recipes.routers import DENSE, make_router, mesh_factors
from moe_zoo.training.recipes.transformer_parts import compile_model
from moe_zoo.training.runs.evaluation import token_choice_routers
from moe_zoo.validation import shown

from .settings import LSTMSettings


class LSTMRecipe(LanguageModelRecipe):
    """Trains LSTM language models, and compares them with a dense baseline.

    Args:
        settings: Settings of the recipe.
        compare: Whether to train the FLOP-matched dense baseline too.
        prompts: Texts that the exported model continues at the end.
    """

    settings: LSTMSettings

    def check(self, compare: bool) -> None:
        """Refuse settings that no model can be made of."""
        check_settings(self.settings, compare)

    def make_model(self, variant: str, on_mesh: bool) -> LSTMLanguageModel:
        """Make the mixture or its dense baseline."""
        make = make_dense_baseline if variant == DENSE else make_model
        return make(self.settings, self.tokenizer.vocabulary_size, on_mesh)

    def adapt(self, model: LSTMLanguageModel, on_mesh: bool) -> LSTMLanguageModel:
        """Without a mesh, take any length and evaluate dropless."""
        return model if on_mesh else for_one_device(model, self.settings)


def check_settings(settings: LSTMSettings, compare: bool = False) -> None:
    """Refuse settings that no model can be made of, before any work is done.

    Args:
        settings: Settings of the recipe.
        compare: Whether the dense baseline is needed too.

    Raises:
        ValueError: If the preset is unknown, if `top_k` is greater than `num_experts`, or if the
            preset lacks the mixture that the settings describe.
    """
    sizes = find_preset(LSTM_LANGUAGE_MODELS, settings.preset)["sizes"]
    if "mixture" in sizes:
        _router(settings, sizes)
        return
    names = ("num_experts", "top_k", "capacity_factor")
    wrong = [f"{x}={getattr(settings, x)}" for x in names if getattr(settings, x) is not None]
    if compare:
        wrong.append("--compare")
    if wrong:
        raise ValueError(
            f"Expected a preset with a mixture of experts for {' and '.join(wrong)}. Received: "
            f"preset={shown(settings.preset)}, which is a dense baseline. Leave that out, or use "
            "another preset."
        )


def make_model(
    settings: LSTMSettings, vocabulary_size: int, on_mesh: bool = False
) -> LSTMLanguageModel:
    """Make and compile the model of the settings.

    Args:
        settings: Settings of the recipe.
        vocabulary_size: Size of the vocabulary.
        on_mesh: Whether to unroll LSTMs and give routers a capacity, as a mesh needs them.

    Raises:
        ValueError: As `check_settings`.
    """
    check_settings(settings)
    keras.utils.set_random_seed(settings.seed)
    sizes = LSTM_LANGUAGE_MODELS[settings.preset]["sizes"]
    mixture: dict[str, Any] = {}
    if "mixture" in sizes:
        router = _router(settings, sizes, on_mesh)
        mixture = {"router": router, "num_experts": settings.num_experts}
    model = LSTMLanguageModel.from_sizes(
        settings.preset,
        vocabulary_size,
        dropout=settings.dropout,
        sequence_length=settings.sequence_length if on_mesh else None,
        dtype=settings.precision,
        name=settings.preset,
        **mixture,
    )
    return _compile(model, settings)


def make_dense_baseline(
    settings: LSTMSettings, vocabulary_size: int, on_mesh: bool = False
) -> LSTMLanguageModel:
    """Make the settings' model with one dense layer in place of the mixture.

    The dense layer has as many hidden units as the K chosen experts have together (the paper's
    MoE-1-Wide), so both models need the same FLOPs per token, except for the router's.

    Args:
        settings: Settings of a preset with a mixture.
        vocabulary_size: Size of the vocabulary.
        on_mesh: As in `make_model`.

    Raises:
        ValueError: If the preset has no mixture.
    """
    check_settings(settings, compare=True)
    keras.utils.set_random_seed(settings.seed)
    sizes = LSTM_LANGUAGE_MODELS[settings.preset]["sizes"]
    hidden_dim = _router(settings, sizes).top_k * sizes["mixture"]["hidden_dim"]
    width, use_bias = sizes["width"], sizes["use_bias"]
    activation = sizes["activation"]
    middle = [dense_block([hidden_dim], width, use_bias, activation, settings.precision)]
    model = LSTMLanguageModel(
        vocabulary_size,
        width,
        middle,
        settings.dropout,
        use_bias,
        settings.sequence_length if on_mesh else None,
        dtype=settings.precision,
        name="dense_twin",
    )
    return _compile(model, settings)


def for_one_device(model: LSTMLanguageModel, settings: LSTMSettings) -> LSTMLanguageModel:
    """Make a model of a mesh take any length and evaluate dropless.

    Args:
        model: Model that was gathered from the mesh.
        settings: Settings of the recipe.
    """
    if model.sequence_length is None:  # it was made for one device
        return model
    model, optimizer = model.for_any_length(), model.optimizer
    for router in token_choice_routers(model):
        router.eval_capacity_factor = None
    free = _compile(model, settings)
    free.optimizer.build(free.trainable_variables)
    for variable, trained in zip(free.optimizer.variables, optimizer.variables, strict=True):
        variable.assign(trained)
    return free


def _router(settings: LSTMSettings, sizes: dict, on_mesh: bool = False) -> TokenChoiceRouter:
    mixture = sizes["mixture"]
    top_k = settings.top_k
    if top_k is None and settings.router != "switch":
        top_k = mixture["top_k"]
    factor, eval_factor = mesh_factors(settings.capacity_factor, on_mesh)
    return make_router(
        settings.router,
        settings.num_experts or mixture["num_experts"],
        top_k,
        capacity_factor=factor,
        eval_capacity_factor=eval_factor,
    )


def _compile(model: LSTMLanguageModel, settings: LSTMSettings) -> LSTMLanguageModel:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compile_model(model, settings, loss, Perplexity())
