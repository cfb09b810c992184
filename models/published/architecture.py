"""From a `SwitchConfig` to the arguments of a `TransformerSeq2Seq`, and back."""

import warnings
from typing import Any

import keras

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models.transformer import Attention, FeedForward, RelativePositions
from moe_zoo.models.transformer.stack import sparse_blocks
from moe_zoo.routers import Router, SwitchRouter
from moe_zoo.validation import shown

from .config import ACTIVATIONS, SwitchConfig


def model_arguments(
    config: SwitchConfig,
    separate_tables: bool = False,
    router: Router | None = None,
    dtype: Any = None,
) -> dict[str, Any]:
    """Return the arguments of the `TransformerSeq2Seq` that a `SwitchConfig` describes: `dict`.

    Args:
        config: `SwitchConfig`.
        separate_tables: `bool`, an embedding each for encoder and decoder.
        router: a router in place of the published rule, or `None`.
        dtype: Keras dtype policy.
    """
    draw = keras.initializers.VarianceScaling(0.1, "fan_in", "truncated_normal")
    shared = {"dropout": config.dropout, "kernel_initializer": draw, "dtype": dtype}
    hidden = {"activation": config.activation, "use_bias": False, **shared}
    return dict(
        vocabulary_size=config.vocabulary_size,
        width=config.width,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        attention=Attention(config.num_heads, config.head_dim, scale=1.0, **shared),
        feed_forward=FeedForward(config.hidden_dim, **hidden),
        moe=_mixture(config, router, hidden, dtype) if _number_sparse(config) else None,
        moe_every=config.moe_every,
        decoder_moe_every=config.decoder_moe_every,
        position=RelativePositions(config.num_buckets, config.max_distance),
        norm=keras.layers.RMSNormalization(epsilon=config.epsilon, dtype=dtype),
        dropout=config.dropout,
        tie_head=config.tied,
        share_embeddings=not separate_tables,
        pad_id=config.pad_id,
        begins_with_padding=config.begin_id == config.pad_id,
        dtype=dtype,
    )


def _number_sparse(config: SwitchConfig) -> int:
    return len(sparse_blocks(config.num_layers, config.moe_every)) + len(
        sparse_blocks(config.num_decoder_layers, config.decoder_moe_every)
    )


def _mixture(config: SwitchConfig, router: Router | None, hidden: dict, dtype: Any) -> MoE:
    """Make the mixture of a router, or of the published rule: a fixed capacity in each row.

    The published rule fills slots in the order of arrival. The original weighs the mean of a
    stack's blocks, while our layers each have a loss, so that the weight is divided by the sparse
    blocks of a stack.
    """
    experts = FeedForwardExperts(config.num_experts, config.hidden_dim, **hidden)
    if router is not None:
        return MoE(router, experts, dtype=dtype)
    blocks = _number_sparse(config) / 2
    router = SwitchRouter(
        expert_capacity=config.expert_capacity,
        route_padding=True,
        jitter=config.jitter,
        balance_loss_weight=config.balance_loss_weight / blocks,
        z_loss_weight=config.z_loss_weight / blocks,
    )
    return MoE(router, experts, group_by_row=True, dtype=dtype)


def describe(
    model: keras.Model,
    expert_capacity: int | None = None,
    end_id: int = 1,
    begin_id: int | None = None,
) -> SwitchConfig:
    """Return the `SwitchConfig` of a model.

    Args:
        model: `TransformerSeq2Seq`.
        expert_capacity: `int`, for routers whose capacity is another rule than the published one.
        end_id: `int`, of the vocabulary.
        begin_id: `int`, which starts the decoder; `None` is the padding's.

    Raises:
        ValueError: If published Switch Transformers cannot express the model; all differences are
            listed.

    Warns:
        UserWarning: If there are several rates of dropout, of which the stacks' is kept.
    """
    stacks = [model.encoder, model.decoder]
    layers = [block.feed_forward for stack in stacks for block in stack.blocks]
    sparse = [layer for layer in layers if isinstance(layer, MoE)]
    dense = [layer for layer in layers if not isinstance(layer, MoE)]
    if expert_capacity is None:
        expert_capacity = sparse[0].router.expert_capacity if _by_row(sparse) else None
    problems = _differences(model, stacks, sparse, dense, expert_capacity)
    if problems:
        raise ValueError(
            "Expected a model as Switch Transformers are published: "
            f"{'; '.join(problems)}. Received: {shown(model.name)}, which differs. Save it with "
            "model.save()."
        )
    rates = {layer.dropout.rate for layer in model._flatten_layers() if hasattr(layer, "dropout")}
    if len(rates) > 1:
        warnings.warn(
            f"Expected one rate of dropout everywhere. Received: {sorted(rates)}. The original has "
            f"one for a whole model, {model.encoder.dropout.rate}, which is what it will train on "
            "with; weights and outputs are the same.",
            stacklevel=4,
        )
    attention, position = model.encoder.blocks[0].attention, model.encoder.position
    first = dense[0] if dense else sparse[0].experts
    router = sparse[0].router if sparse else None
    blocks = len(sparse) / 2
    return SwitchConfig(
        vocabulary_size=model.vocabulary_size,
        width=model.width,
        num_layers=len(model.encoder.blocks),
        num_decoder_layers=len(model.decoder.blocks),
        num_heads=attention.num_heads,
        head_dim=attention.kv_shape[1],
        hidden_dim=first.hidden_dim,
        num_experts=sparse[0].experts.num_experts if sparse else 1,
        expert_capacity=expert_capacity or 64,
        moe_every=model.encoder.moe_every if sparse else 0,
        decoder_moe_every=model.decoder.moe_every if sparse else 0,
        num_buckets=position.num_buckets,
        max_distance=position.max_distance,
        activation=_activation(first),
        dropout=model.encoder.dropout.rate,
        epsilon=model.encoder.norm.epsilon,
        jitter=router.jitter if router else 0.0,
        z_loss_weight=router.z_loss_weight * blocks if router else 0.0,
        balance_loss_weight=router.balance_loss_weight * blocks if router else 0.0,
        tied=model.head is None,
        pad_id=model.pad_id,
        end_id=end_id,
        begin_id=model.pad_id if begin_id is None else begin_id,
    )


def _differences(
    model: keras.Model, stacks: list, sparse: list, dense: list, expert_capacity: int | None
) -> list[str]:
    """Return what a published model has and this one does not, as a list of `str`."""
    attentions = [block.attention for stack in stacks for block in stack.blocks]
    parts = [*dense, *(layer.experts for layer in sparse)]
    kinds = {(x.hidden_dim, _activation(x)) for x in parts if hasattr(x, "hidden_dim")}
    one_table = model.decoder_embedding is model.embedding
    conditions = {
        "relative positions": all(isinstance(s.position, RelativePositions) for s in stacks),
        "RMS norms": all(isinstance(s.norm, keras.layers.RMSNormalization) for s in stacks),
        "attention with scale=1, without biases and shared heads": all(
            x.score_scale == 1.0 and not x.use_bias and x.kv_shape[0] == x.num_heads
            for x in attentions
        ),
        "FeedForward and FeedForwardExperts without biases, all of one hidden_dim and activation": (
            all(isinstance(x, FeedForward | FeedForwardExperts) and not x.use_bias for x in parts)
            and len(kinds) == 1
            and next(iter(kinds))[1] in ACTIVATIONS
        ),
        "SwitchRouter with top_k=1 and slots in the order of arrival": all(
            isinstance(x.router, SwitchRouter)
            and x.router.top_k == 1
            and not x.router.batch_priority
            for x in sparse
        ),
        "one embedding for both stacks, or a head of its own": one_table or model.head is not None,
        "a fixed capacity in each row (give expert_capacity for another rule)": (
            not sparse or expert_capacity is not None
        ),
    }
    return [what for what, holds in conditions.items() if not holds]


def _by_row(sparse: list) -> bool:
    """Tell whether all mixtures route by the published rule."""
    return bool(sparse) and all(
        layer.group_by_row
        and layer.router.route_padding
        and getattr(layer.router, "expert_capacity", None)
        for layer in sparse
    )


def _activation(layer: keras.layers.Layer) -> str:
    return keras.activations.serialize(layer.activation)
