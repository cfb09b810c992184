"""Experts: what computes. Weights are stacked over experts."""

from moe_zoo.experts.experts import Experts
from moe_zoo.experts.feed_forward import FeedForwardExperts
from moe_zoo.experts.gated import GatedExperts
from moe_zoo.experts.heterogeneous import HeterogeneousExperts
from moe_zoo.experts.hidden_layer import HiddenLayerExperts
from moe_zoo.experts.mlp import MLPExperts

__all__ = [
    "Experts",
    "FeedForwardExperts",
    "GatedExperts",
    "HeterogeneousExperts",
    "HiddenLayerExperts",
    "MLPExperts",
]
