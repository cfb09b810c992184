"""The dense layer of as many FLOPs as a mixture of experts."""

import keras

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE

from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward


def dense_layer_like(moe: MoE) -> FeedForward | GatedFeedForward:
    """Return a dense layer of as many multiplications per token as a mixture's chosen experts.

    Its hidden layer has `top_k * hidden_dim` units, and the experts' activation, dropout,
    initializer and precision. Only the router's `E * D` multiplications are not made up for.

    Args:
        moe: `MoE` of `FeedForwardExperts` or `GatedExperts`.

    Raises:
        ValueError: If the mixture has other experts.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import GShardRouter
    >>> dense_layer_like(MoE(GShardRouter(top_k=2), FeedForwardExperts(8, 32))).hidden_dim
    64
    """
    experts = moe.experts
    if not isinstance(experts, FeedForwardExperts | GatedExperts):
        raise ValueError(
            "Expected a mixture of FeedForwardExperts or GatedExperts. Received: "
            f"{type(experts).__name__}, whose products have no dense layer that is as many. Give "
            "a model of its own without a mixture."
        )
    kind = GatedFeedForward if isinstance(experts, GatedExperts) else FeedForward
    return kind(
        moe.router.experts_per_token * experts.hidden_dim,
        activation=experts.activation,
        use_bias=experts.use_bias,
        dropout=experts.dropout.rate,
        kernel_initializer=experts.dense.kernel_initializer,
        dtype=experts.dtype_policy,
    )


def baseline_config(config: dict) -> dict:
    """Return a model's configuration with `dense_layer_like` in place of its mixture."""
    changes = {}
    for name in ("feed_forward", "moe"):
        layer = config[name] and keras.saving.deserialize_keras_object(config[name])
        if isinstance(layer, MoE):
            changes[name] = keras.saving.serialize_keras_object(dense_layer_like(layer))
    return {**config, **changes}
