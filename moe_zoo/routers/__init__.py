"""Routers: who goes where. One file per algorithm, its pure function first."""

from .choices import Choices
from .gshard import GShardRouter
from .noisy_top_k import NoisyTopKRouter
from .router import Router
from .softmax import SoftmaxRouter
from .switch import SwitchRouter
from .token_choice import TokenChoiceRouter

__all__ = [
    "Choices",
    "GShardRouter",
    "NoisyTopKRouter",
    "Router",
    "SoftmaxRouter",
    "SwitchRouter",
    "TokenChoiceRouter",
]
