"""Routers: who goes where. One file per algorithm, its pure function first."""

from moe_zoo.routers.gshard import GShardRouter
from moe_zoo.routers.noisy_top_k import NoisyTopKRouter
from moe_zoo.routers.router import Choices, Router, TokenChoiceRouter
from moe_zoo.routers.softmax import SoftmaxRouter
from moe_zoo.routers.switch import SwitchRouter

__all__ = [
    "Choices",
    "GShardRouter",
    "NoisyTopKRouter",
    "Router",
    "SoftmaxRouter",
    "SwitchRouter",
    "TokenChoiceRouter",
]
