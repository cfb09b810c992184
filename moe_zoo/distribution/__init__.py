"""Experts over the devices of a mesh, by DTensor, under plain `model.fit`."""

from typing import TYPE_CHECKING

from moe_zoo._lazy import lazy_names

from .environment import guard_against_wrong_numbers

if TYPE_CHECKING:
    from moe_zoo.processes import is_writer

    from .cluster import WorkerLostError
    from .cost import Estimate, estimate
    from .expert_parallel import ExpertParallel
    from .memory import smallest_mesh
    from .mesh import virtual_devices

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

if not TYPE_CHECKING:  # else a checker would take any name for one of these
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            ".processes": ["is_writer"],
            "cluster": ["WorkerLostError"],
            "cost": ["Estimate", "estimate"],
            "expert_parallel": ["ExpertParallel"],
            "memory": ["smallest_mesh"],
            "mesh": ["virtual_devices"],
        },
    )
