"""Routers: who goes where. One file per algorithm, its pure function first."""

from .gshard import GShardRouter
from .noisy_top_k import NoisyTopKRouter
from .router import Choices, Router, TokenChoiceRouter
from .softmax import SoftmaxRouter
from .switch import SwitchRouter

__all__ = [
    "Choices",
    "GShardRouter",
    "NoisyTopKRouter",
    "Router",
    "SoftmaxRouter",
    "SwitchRouter",
    "TokenChoiceRouter",
]
