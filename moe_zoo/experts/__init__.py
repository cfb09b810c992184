"""Experts: what computes. Weights are stacked over experts."""

from .experts import Experts
from .feed_forward import FeedForwardExperts
from .gated import GatedExperts
from .heterogeneous import HeterogeneousExperts
from .hidden_layer import HiddenLayerExperts
from .mlp import MLPExperts

__all__ = [
    "Experts",
    "FeedForwardExperts",
    "GatedExperts",
    "HeterogeneousExperts",
    "HiddenLayerExperts",
    "MLPExperts",
]
