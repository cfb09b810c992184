"""Routing plans: which expert computes which token, and how tokens travel there and back."""

from .assign import expert_capacity, plan_dropless, plan_with_capacity
from .plan import DensePlan, DroplessPlan, RoutingPlan

__all__ = [
    "DensePlan",
    "DroplessPlan",
    "RoutingPlan",
    "expert_capacity",
    "plan_dropless",
    "plan_with_capacity",
]
