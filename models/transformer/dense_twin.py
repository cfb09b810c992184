"""The dense layer that costs what a mixture of experts costs."""

import keras

from moe_zoo.experts import GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.models.transformer.feed_forward import FeedForward
from moe_zoo.models.transformer.gated_feed_forward import GatedFeedForward


def dense_layer_like(moe):
    """A feed-forward layer of as many multiplications per token as a mixture's chosen experts.

    Its hidden layer has `top_k * hidden_dim` units, and the experts' activation, dropout,
    initializer and precision. Only the router's `E * D` multiplications are not made up for.

    Args:
        moe: `MoE` of `FeedForwardExperts` or `GatedExperts`.

    Example:

    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import GShardRouter
    >>> dense_layer_like(MoE(GShardRouter(top_k=2), FeedForwardExperts(8, 32))).hidden_dim
    64
    """
    experts = moe.experts
    kind = GatedFeedForward if isinstance(experts, GatedExperts) else FeedForward
    return kind(
        moe.router.top_k * experts.hidden_dim,
        activation=experts.activation,
        use_bias=experts.use_bias,
        dropout=experts.dropout.rate,
        kernel_initializer=experts.kernel_initializer,
        dtype=experts.dtype_policy,
    )


def twin_config(config):
    """A model's configuration with `dense_layer_like` in place of its mixture."""
    moe = config["moe"] and keras.saving.deserialize_keras_object(config["moe"])
    if not isinstance(moe, MoE):
        return config
    return {**config, "moe": keras.saving.serialize_keras_object(dense_layer_like(moe))}
