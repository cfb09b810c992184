"""Layers that a user puts into a model."""

from .cgc import CGC
from .cross_stitch import CrossStitch
from .mmoe import MMoE
from .moe import MoE
from .ple import PLE
from .shared_bottom import SharedBottom
from .single_task import SingleTask
from .task_mixing import TaskMixing

__all__ = [
    "CGC",
    "CrossStitch",
    "MMoE",
    "MoE",
    "PLE",
    "SharedBottom",
    "SingleTask",
    "TaskMixing",
]
