"""Layers that a user puts into a model."""

from moe_zoo.layers.moe import MoE

__all__ = ["MoE"]
