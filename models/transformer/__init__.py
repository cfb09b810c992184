"""Layers of Transformers."""

from moe_zoo.models.transformer.attend import attend
from moe_zoo.models.transformer.attention import Attention
from moe_zoo.models.transformer.block import TransformerBlock
from moe_zoo.models.transformer.dense_twin import dense_layer_like
from moe_zoo.models.transformer.feed_forward import FeedForward
from moe_zoo.models.transformer.gated_feed_forward import GatedFeedForward
from moe_zoo.models.transformer.positions import Positions
from moe_zoo.models.transformer.relative_positions import RelativePositions, relative_buckets
from moe_zoo.models.transformer.rotary_positions import RotaryPositions, rotate_pairs
from moe_zoo.models.transformer.stack import TransformerStack

__all__ = [
    "Attention",
    "FeedForward",
    "GatedFeedForward",
    "Positions",
    "RelativePositions",
    "RotaryPositions",
    "TransformerBlock",
    "TransformerStack",
    "attend",
    "dense_layer_like",
    "relative_buckets",
    "rotate_pairs",
]
