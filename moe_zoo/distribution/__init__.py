"""Experts over the devices of a mesh, by DTensor, under plain `model.fit`."""

from .cluster import WorkerLostError, is_writer
from .expert_parallel import ExpertParallel
from .mesh import guard_against_wrong_numbers, virtual_devices

guard_against_wrong_numbers()

__all__ = ["ExpertParallel", "WorkerLostError", "is_writer", "virtual_devices"]
