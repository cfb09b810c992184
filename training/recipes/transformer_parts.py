"""Parts of Transformers made from their settings: layers, mixture, optimizer."""

from collections.abc import Sequence
from typing import Any

import keras

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.models.transformer import Attention, FeedForward, GatedFeedForward
from moe_zoo.routers import TokenChoiceRouter
from moe_zoo.training.optim.optimizers import optimizer_by_name
from moe_zoo.training.optim.schedules import schedule_by_name
from moe_zoo.training.runs.evaluation import token_choice_routers
from moe_zoo.validation import shown

from .routers import DENSE, make_router, mesh_factors
from .settings import TextSettings, TransformerSettings


def make_layers(settings: TransformerSettings, router: str) -> dict[str, Any]:
    """Make the arguments that all Transformers take: attention, feed-forward layer, mixture, sizes.

    With the default sizes all routers, and none, need the same FLOPs per token: an expert has
    `hidden_dim / top_k` hidden units.

    Args:
        settings: Settings of the recipe.
        router: Name of the router; `"dense"` makes the model without a mixture.

    Raises:
        ValueError: If `top_k` is greater than the number of experts, or no block has a mixture.
    """
    hidden_dim = settings.hidden_dim or 4 * settings.width
    gated = settings.feed_forward == "swiglu"
    initializer = keras.initializers.VarianceScaling(
        settings.init_scale, "fan_in", "truncated_normal"
    )
    shared = {"dtype": settings.precision, "kernel_initializer": initializer}
    layer = GatedFeedForward if gated else FeedForward
    moe = None
    if router != DENSE:
        chosen = transformer_router(settings, router)
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


def transformer_router(settings: TransformerSettings, router: str) -> TokenChoiceRouter:
    """Make a router that trains as the settings say, and whose evaluation is dropless."""
    if settings.num_layers == 1 and settings.moe_every > 1:
        raise ValueError(
            "Expected a block with a mixture; without moe_every=1 the first is dense. Received: "
            f"router={shown(router)}, num_layers=1, moe_every={settings.moe_every}. Take "
            "moe_every=1, or more layers."
        )
    return make_router(
        router,
        settings.num_experts,
        settings.top_k,
        settings.balance_weight,
        capacity_factor=settings.capacity_factor,
        eval_capacity_factor=None,
        jitter=settings.jitter,
        z_loss_weight=settings.z_loss_weight,
    )


def check_routers(settings: TransformerSettings, routers: Sequence[str]) -> None:
    """Refuse settings that no model can be made of, before any work is done.

    Args:
        settings: Settings of the recipe.
        routers: Names of routers, or `"dense"`.

    Raises:
        ValueError: If `top_k` is greater than the number of experts, or no block has a mixture.
    """
    for router in routers:
        if router != DENSE:
            transformer_router(settings, router)


def compile_model(
    model: keras.Model,
    settings: TextSettings,
    loss: keras.losses.Loss,
    metric: keras.metrics.Metric,
) -> keras.Model:
    """Compile a model with the optimizer of its settings.

    Args:
        model: Keras model.
        settings: Settings of the recipe.
        loss: Loss.
        metric: Metric, weighted as the loss.
    """
    rate = schedule_by_name(
        settings.schedule, settings.learning_rate, settings.warmup_steps, settings.steps
    )
    decay = getattr(settings, "weight_decay", 0.0)
    model.compile(
        optimizer=optimizer_by_name(settings.optimizer, rate, settings.clip_norm, decay),
        loss=loss,
        weighted_metrics=[metric],
        jit_compile=False,  # slower on CPUs, and batches have several shapes
    )
    return model


def set_capacities(
    model: keras.Model, settings: TransformerSettings, on_mesh: bool = False
) -> keras.Model:
    """Give the routers of a model, new or restored, the capacities that they train with.

    Args:
        model: Keras model, which is returned.
        settings: Settings of the recipe.
        on_mesh: Whether the model runs on a mesh, which cannot be dropless. Elsewhere it evaluates
            dropless.
    """
    factors = mesh_factors(settings.capacity_factor, on_mesh)
    for router in token_choice_routers(model):
        router.capacity_factor, router.eval_capacity_factor = factors
    model.train_function = model.test_function = None  # their graphs have the previous capacities
    return model
