"""Experts over the devices of a mesh, by DTensor, under plain `model.fit`."""

from .cluster import WorkerLostError, is_writer
from .estimate import Estimate, estimate, smallest_mesh
from .expert_parallel import ExpertParallel
from .mesh import guard_against_wrong_numbers, virtual_devices

guard_against_wrong_numbers()

__all__ = [
    "Estimate",
    "ExpertParallel",
    "WorkerLostError",
    "estimate",
    "is_writer",
    "smallest_mesh",
    "virtual_devices",
]
