"""Optimizers, schedules, losses and metrics."""

from .lazy_adam import LazyAdam
from .losses import Perplexity, SmoothedCrossEntropy, smoothed_cross_entropy
from .optimizers import FactoredAdam
from .schedules import WarmupInverseSquareRoot

__all__ = [
    "FactoredAdam",
    "LazyAdam",
    "Perplexity",
    "SmoothedCrossEntropy",
    "WarmupInverseSquareRoot",
    "smoothed_cross_entropy",
]
