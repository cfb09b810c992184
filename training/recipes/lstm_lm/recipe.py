"""The recipe of the LSTM language model and of its dense twin: model, optimizer, loss."""

import keras

from moe_zoo.models import LSTM_LANGUAGE_MODELS, LSTMLanguageModel, dense_block, find_preset
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter, TokenChoiceRouter
from moe_zoo.training.optim.metrics import Perplexity
from moe_zoo.training.optim.optimizers import optimizer_by_name
from moe_zoo.training.optim.schedules import schedule_by_name
from moe_zoo.training.recipes.recipe import LanguageModelRecipe
from moe_zoo.validation import shown

ROUTERS = {"noisy_top_k": NoisyTopKRouter, "switch": SwitchRouter, "gshard": GShardRouter}
MESH_CAPACITY_FACTORS = 1.25, 2.0  # in training and evaluation, where a mesh cannot be dropless


def check_settings(settings, compare=False):
    """Refuses settings that no model can be made of, before any work is done.

    Args:
        settings: `LSTMSettings`.
        compare: `bool`, whether the dense twin is wanted too.

    Raises:
        ValueError: an unknown preset, `top_k > num_experts`, or a preset without the mixture that
            the settings are for.
    """
    sizes = find_preset(LSTM_LANGUAGE_MODELS, settings.preset)["sizes"]
    if "mixture" in sizes:
        _router(settings, sizes).set_num_experts(
            settings.num_experts or sizes["mixture"]["num_experts"]
        )
        return
    names = ("num_experts", "top_k", "capacity_factor")
    wrong = [f"{x}={getattr(settings, x)}" for x in names if getattr(settings, x) is not None]
    if compare:
        wrong.append("--compare")
    if wrong:
        raise ValueError(
            f"Expected a preset with a mixture of experts for {' and '.join(wrong)}. Received: "
            f"preset={shown(settings.preset)}, a dense baseline itself. Leave that out, or take "
            "another preset."
        )


def make_model(settings, vocabulary_size, for_mesh=False):
    """The model of the settings, compiled.

    Args:
        settings: `LSTMSettings`.
        vocabulary_size: `int`.
        for_mesh: `bool`, with LSTMs unrolled and routers with a capacity, as a mesh needs them.

    Raises:
        ValueError: an unknown preset, or `top_k > num_experts`.
    """
    check_settings(settings)
    keras.utils.set_random_seed(settings.seed)
    sizes = LSTM_LANGUAGE_MODELS[settings.preset]["sizes"]
    mixture = {}
    if "mixture" in sizes:
        router = _router(settings, sizes, for_mesh)
        mixture = {"router": router, "num_experts": settings.num_experts}
    model = LSTMLanguageModel.from_sizes(
        settings.preset,
        vocabulary_size,
        dropout=settings.dropout,
        sequence_length=settings.sequence_length if for_mesh else None,
        dtype=settings.precision,
        name=settings.preset,
        **mixture,
    )
    return _compile(model, settings)


def make_dense_twin(settings, vocabulary_size, for_mesh=False):
    """The settings' model with one dense layer in place of the mixture, and all else the same.

    The dense layer has as many hidden units as the K chosen experts have together (the paper's
    MoE-1-Wide), so both compute as many products per token, but for the router's.

    Args:
        settings: `LSTMSettings` of a preset with a mixture.
        vocabulary_size: `int`.
        for_mesh: `bool`, as in `make_model`.

    Raises:
        ValueError: the preset has no mixture.
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
        settings.sequence_length if for_mesh else None,
        dtype=settings.precision,
        name="dense_twin",
    )
    return _compile(model, settings)


def for_one_device(model, settings):
    """A model as it is without a mesh: any length, evaluation dropless.

    Args:
        model: a trained `LSTMLanguageModel` that is on no mesh any more.
        settings: its `LSTMSettings`.
    """
    if model.sequence_length is None:  # it was made for one device
        return model
    model, optimizer = model.for_any_length(), model.optimizer
    for layer in model._flatten_layers():
        if isinstance(layer, TokenChoiceRouter):
            layer.eval_capacity_factor = None
    free = _compile(model, settings)
    free.optimizer.build(free.trainable_variables)
    for variable, trained in zip(free.optimizer.variables, optimizer.variables, strict=True):
        variable.assign(trained)
    return free


def _router(settings, sizes, for_mesh=False):
    top_k = settings.top_k
    if top_k is None:
        top_k = 1 if settings.router == "switch" else sizes["mixture"]["top_k"]
    factor, eval_factor = settings.capacity_factor, None
    if for_mesh:
        factor, eval_factor = factor or MESH_CAPACITY_FACTORS[0], MESH_CAPACITY_FACTORS[1]
    return ROUTERS[settings.router](
        top_k=top_k, capacity_factor=factor, eval_capacity_factor=eval_factor
    )


def _compile(model, settings):
    rate = schedule_by_name(
        settings.schedule, settings.learning_rate, settings.warmup_steps, settings.steps
    )
    model.compile(
        optimizer=optimizer_by_name(settings.optimizer, rate, settings.clip_norm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[Perplexity()],
        jit_compile=False,  # XLA makes these models slower on CPUs
    )
    return model


LSTM_LM = LanguageModelRecipe(check_settings, make_model, make_dense_twin, for_one_device)
