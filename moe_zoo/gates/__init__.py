"""Gates: how much of each expert each task takes. One file per algorithm."""

from moe_zoo.gates.dselect_k import DSelectKGate
from moe_zoo.gates.gate import Gate, Gates
from moe_zoo.gates.noisy_top_k import NoisyTopKGate
from moe_zoo.gates.softmax import SoftmaxGate

__all__ = ["DSelectKGate", "Gate", "Gates", "NoisyTopKGate", "SoftmaxGate"]
