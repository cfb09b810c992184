"""The parts of Transformers from their settings: layers, mixture, optimizer."""

import keras

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.models.transformer import Attention, FeedForward, GatedFeedForward
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter, TokenChoiceRouter
from moe_zoo.training.optim.optimizers import optimizer_by_name
from moe_zoo.training.optim.schedules import schedule_by_name

from .transformer_settings import DENSE

MESH_CAPACITY_FACTORS = 1.25, 2.0  # in training and evaluation, where a mesh cannot be dropless


def make_layers(settings, router):
    """Arguments of every Transformer: attention, feed-forward layer, mixture, dropout, precision.

    With the default sizes all routers, and none, compute as many products per token: an expert has
    `hidden_dim / top_k` hidden units.

    Args:
        settings: `TransformerSettings`.
        router: one of `MIXTURES`; `"dense"` gives the model without a mixture.

    Returns:
        `dict`.

    Raises:
        ValueError: `top_k` above the number of experts.
    """
    hidden_dim = settings.hidden_dim or 4 * settings.width
    gated = settings.feed_forward == "swiglu"
    shared = {"dtype": settings.precision, "kernel_initializer": _initializer(settings)}
    layer = GatedFeedForward if gated else FeedForward
    moe = None
    if router != DENSE:
        chosen = make_router(settings, router)
        experts = (GatedExperts if gated else FeedForwardExperts)(
            settings.num_experts,
            settings.expert_hidden_dim or max(hidden_dim // chosen.top_k, 1),
            use_bias=False,
            dropout=settings.expert_dropout,
            **shared,
        )
        moe = MoE(chosen, experts, name="moe", dtype=settings.precision)
    return {
        "width": settings.width,
        "num_layers": settings.num_layers,
        "attention": Attention(settings.num_heads, dropout=settings.dropout, **shared),
        "feed_forward": layer(hidden_dim, dropout=settings.dropout, **shared),
        "moe": moe,
        "moe_every": settings.moe_every,
        "dropout": settings.dropout,
        "dtype": settings.precision,
    }


def make_router(settings, router):
    """A router whose training is as the settings say, and whose evaluation is dropless."""
    options = {
        "capacity_factor": settings.capacity_factor,
        "eval_capacity_factor": None,
        "jitter": settings.jitter,
        "z_loss_weight": settings.z_loss_weight,
    }
    if settings.top_k is not None:
        options["top_k"] = settings.top_k
    weight = settings.balance_weight
    if router == "noisy_top_k":
        losses = {"importance_loss_weight": weight, "load_loss_weight": weight}
    else:
        losses = {"balance_loss_weight": weight}
    made = {"noisy_top_k": NoisyTopKRouter, "switch": SwitchRouter, "gshard": GShardRouter}[router](
        **options, **losses
    )
    made.set_num_experts(settings.num_experts)
    return made


def check_routers(settings, routers):
    """Refuses settings that no model can be made of, before any work is done.

    Args:
        settings: `TransformerSettings`.
        routers: names out of `MIXTURES`.

    Raises:
        ValueError: `top_k` above the number of experts.
    """
    for router in routers:
        if router != DENSE:
            make_router(settings, router)


def compile_transformer(model, settings, loss, metrics):
    """Compile a model with the optimizer of its settings.

    Args:
        model: a Keras model.
        settings: `TransformerSettings`.
        loss: Keras loss.
        metrics: list of Keras metrics, weighted as the loss.
    """
    rate = schedule_by_name(
        settings.schedule, settings.learning_rate, settings.warmup_steps, settings.steps
    )
    model.compile(
        optimizer=optimizer_by_name(
            settings.optimizer, rate, settings.clip_norm, settings.weight_decay
        ),
        loss=loss,
        weighted_metrics=metrics,
        jit_compile=False,  # batches have several shapes
    )
    return model


def set_capacities(model, settings, for_mesh=False):
    """Give the routers of a model, new or restored, the capacities that they train with.

    Args:
        model: a Keras model.
        settings: `TransformerSettings`.
        for_mesh: `bool`; a mesh cannot be dropless.

    Returns:
        The model, which evaluates dropless but on a mesh.
    """
    factor, eval_factor = settings.capacity_factor, None
    if for_mesh:
        factor, eval_factor = factor or MESH_CAPACITY_FACTORS[0], MESH_CAPACITY_FACTORS[1]
    for layer in model._flatten_layers():
        if isinstance(layer, TokenChoiceRouter):
            layer.capacity_factor, layer.eval_capacity_factor = factor, eval_factor
    model.train_function = model.test_function = None  # they have the former ones in their graphs
    return model


def _initializer(settings):
    return keras.initializers.VarianceScaling(settings.init_scale, "fan_in", "truncated_normal")
