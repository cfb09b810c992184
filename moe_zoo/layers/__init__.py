"""Layers that a user puts into a model."""

from moe_zoo.layers.cgc import CGC
from moe_zoo.layers.cross_stitch import CrossStitch
from moe_zoo.layers.mmoe import MMoE
from moe_zoo.layers.moe import MoE
from moe_zoo.layers.omoe import OMoE
from moe_zoo.layers.ple import PLE
from moe_zoo.layers.shared_bottom import SharedBottom
from moe_zoo.layers.single_task import SingleTask
from moe_zoo.layers.task_mixing import TaskMixing

__all__ = [
    "CGC",
    "CrossStitch",
    "MMoE",
    "MoE",
    "OMoE",
    "PLE",
    "SharedBottom",
    "SingleTask",
    "TaskMixing",
]
