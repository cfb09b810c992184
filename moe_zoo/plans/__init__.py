"""Routing plans: which expert computes which token, and how tokens travel there and back."""

from .capacity import RoutingPlan, expert_capacity, plan_with_capacity
from .dense import DensePlan
from .dropless import DroplessPlan, plan_dropless
from .layouts import EveryRow, Layout, Slots, SortedRows
from .plan import Plan

__all__ = [
    "DensePlan",
    "DroplessPlan",
    "EveryRow",
    "Layout",
    "Plan",
    "RoutingPlan",
    "Slots",
    "SortedRows",
    "expert_capacity",
    "plan_dropless",
    "plan_with_capacity",
]
