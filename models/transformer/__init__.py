"""Layers of Transformers."""

from .attend import attend
from .attention import Attention
from .block import TransformerBlock
from .dense_baseline import dense_layer_like
from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward
from .positions import Positions
from .relative_positions import RelativePositions, relative_buckets
from .rotary_positions import RotaryPositions, rotate_pairs
from .stack import TransformerStack

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
