"""The middle of an LSTM language model: a mixture of experts, or its dense baseline."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import NoisyTopKRouter, Router


def mixture_block(
    num_experts: int,
    hidden_dim: int,
    top_k: int,
    router: Router | None = None,
    use_bias: bool = True,
    activation: str | Callable[[Any], Any] | None = "sigmoid",
    dtype: Any = None,
) -> keras.Sequential:
    """Make the paper's middle: ReLU experts whose weighted sum passes through a sigmoid.

    Args:
        num_experts: `int`, E.
        hidden_dim: `int`, F.
        top_k: `int`, K, of the default router.
        router: a router, or `None` for the paper's: noisy top-k that drops nothing.
        use_bias: `bool`, biases in the experts.
        activation: Keras activation of the weighted sum.
        dtype: Keras dtype policy.
    """
    router = router or NoisyTopKRouter(top_k, capacity_factor=None, eval_capacity_factor=None)
    experts = FeedForwardExperts(num_experts, hidden_dim, use_bias=use_bias, dtype=dtype)
    mixture = MoE(router, experts, name="moe", dtype=dtype)
    output = keras.layers.Activation(activation, dtype=dtype)
    return keras.Sequential([mixture, output], name="mixture")


def dense_block(
    hidden_dims: Sequence[int],
    width: int,
    use_bias: bool = True,
    activation: str | Callable[[Any], Any] | None = "sigmoid",
    dtype: Any = None,
) -> keras.Sequential:
    """Make the paper's MoE-1 baselines: ReLU layers, one linear layer and a sigmoid.

    Args:
        hidden_dims: list of `int`, hidden units of each layer.
        width: `int`, units of the output.
        use_bias: `bool`.
        activation: Keras activation of the output.
        dtype: Keras dtype policy.
    """
    shared = {"use_bias": use_bias, "dtype": dtype}
    layers = [keras.layers.Dense(size, "relu", **shared) for size in hidden_dims]
    layers.append(keras.layers.Dense(width, **shared))
    layers.append(keras.layers.Activation(activation, dtype=dtype))
    return keras.Sequential(layers, name="dense")
