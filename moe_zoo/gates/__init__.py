"""Gates: how much of each expert each task takes. One file per algorithm."""

from .dselect_k import DSelectKGate
from .gate import Gate, Gates
from .noisy_top_k import NoisyTopKGate
from .softmax import SoftmaxGate

__all__ = ["DSelectKGate", "Gate", "Gates", "NoisyTopKGate", "SoftmaxGate"]
