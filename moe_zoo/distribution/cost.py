"""What a training step on a mesh costs each device, computed from sizes alone.

Axis letters as in `moe_zoo.plans.plan`; n devices on the expert axis, b on the batch axis.
"""

import math
from typing import NamedTuple

from moe_zoo.plans import expert_capacity
from moe_zoo.stats import MOST_PAIRED
from moe_zoo.validation import LARGEST_INT, check_int, check_positive, shown

from .mesh import describe_axes, parse_axes

ORDER_BYTES = 8  # DTensor gathers integers as int64


class Estimate(NamedTuple):
    """Bytes of one device: what it holds, and what it gives to collectives in a training step.

    Fields:
        mesh: `str`, the axes and their sizes.
        devices: `int`, of the whole mesh.
        expert_weights, other_weights: trainable weights.
        expert_gradients, other_gradients: their gradients, all at once.
        expert_optimizer, other_optimizer: the optimizer's slots.
        activations: inputs, hidden units and outputs of the experts' `E/n * G * C` slots in all MoE
            layers, which the gradient needs. What else a model keeps is not counted.
        all_to_all: four times a layer (there and back, forward and gradient) `G/n * E * C * D`
            values. 0 where the batch does not lie on the expert axis.
        all_to_all_leaving: `(n - 1)/n` of it, the part for other devices.
        all_gather: the experts of all choices of the batch, 8 bytes each, and as much for each two
            choices of a token, whose experts are counted together; where the batch lies on another
            axis also twice a layer (outputs, and gradients of inputs) `G/b * E * C * D`
            values. DTensor gathers by adding up, so a device gives as much as it gets.
        all_reduce: gradients of weights that several devices hold a copy of. Sums of losses and
            statistics, some hundred bytes, are not counted.
    """

    mesh: str
    devices: int
    expert_weights: int
    other_weights: int
    expert_gradients: int
    other_gradients: int
    expert_optimizer: int
    other_optimizer: int
    activations: int
    all_to_all: int
    all_to_all_leaving: int
    all_gather: int
    all_reduce: int

    @property
    def state(self) -> int:
        """Bytes of weights, gradients and optimizer slots."""
        return sum(getattr(self, name) for name in STATE)


STATE = [
    f"{part}_{kind}"
    for part in ("expert", "other")
    for kind in ("weights", "gradients", "optimizer")
]


def estimate(
    mesh: str,
    *,
    num_layers: int,
    num_experts: int,
    width: int,
    hidden_dim: int,
    top_k: int,
    capacity_factor: float,
    tokens: int,
    other_parameters: int,
    gated: bool = False,
    use_bias: bool = True,
    group_size: int | None = None,
    min_capacity: int = 4,
    weight_bytes: int = 4,
    activation_bytes: int = 4,
    optimizer_slots: int = 2,
    batch_axis: str | None = "auto",
) -> Estimate:
    """Estimate the cost of a model on a mesh under `ExpertParallel`, without building either.

    Args:
        mesh: Axes and their sizes: `"expert=8"`, `"batch=2,expert=4"` or `"batch=2"`.
        num_layers: Number of MoE layers, all of the same size.
        num_experts: Experts of a layer, E.
        width: Model width, D.
        hidden_dim: Hidden width of an expert, F.
        top_k: Choices of a token, K.
        capacity_factor: Factor of the experts' capacity.
        tokens: Tokens in a batch of the whole mesh.
        other_parameters: Trainable parameters outside the experts, with the routers' `D * E` a
            layer.
        gated: Whether the experts are `GatedExperts` in place of `FeedForwardExperts`.
        use_bias: Whether experts have biases.
        group_size: Tokens of a group, as of `MoE`.
        min_capacity: Least capacity, as of the router.
        weight_bytes: Bytes of one weight, of its gradient, and of its value in an optimizer slot.
        activation_bytes: Bytes of one value in a layer; 2 in mixed precision.
        optimizer_slots: Values that the optimizer keeps for a weight: 2 for Adam, 1 for momentum.
        batch_axis: Mesh axis of the batch, as of `ExpertParallel`.

    Raises:
        ValueError: If a size is not positive, or the mesh does not divide it.

    Example:

    >>> cost = estimate(
    ...     "expert=4", num_layers=1, num_experts=8, width=16, hidden_dim=32, top_k=1,
    ...     capacity_factor=1.0, tokens=192, other_parameters=1810, group_size=24,
    ... )
    >>> cost.expert_weights, cost.all_to_all, cost.all_reduce
    (8576, 16384, 7240)
    """
    _check_least(1, num_layers=num_layers, num_experts=num_experts, width=width, top_k=top_k)
    _check_least(1, hidden_dim=hidden_dim, tokens=tokens, min_capacity=min_capacity)
    _check_least(1, weight_bytes=weight_bytes, activation_bytes=activation_bytes)
    _check_least(0, other_parameters=other_parameters, optimizer_slots=optimizer_slots)
    sizes = _axes(mesh)
    if batch_axis == "auto":
        batch_axis = "batch" if "batch" in sizes else "expert"
    _check(sizes, batch_axis, num_experts, top_k)
    advice = "A mesh needs a capacity; 1.25 is common."
    capacity_factor = check_positive("capacity_factor", capacity_factor, advice)
    devices, shards = sizes.get("expert", 1), 1 if batch_axis is None else sizes.get(batch_axis, 1)
    together = batch_axis == "expert"

    groups, size = _groups(tokens, shards, group_size)
    capacity = expert_capacity(size, num_experts, top_k, capacity_factor, min_capacity)
    slots = groups // shards * num_experts * capacity  # of the groups of one device
    moved = slots * width * activation_bytes
    computed = slots if together else slots // devices  # of the experts of one device
    kept = 2 * width + (3 if gated else 1) * hidden_dim

    experts = num_layers * num_experts // devices * _expert_size(width, hidden_dim, gated, use_bias)
    experts, others = experts * weight_bytes, other_parameters * weight_bytes
    all_to_all = 4 * num_layers * moved if together and devices > 1 else 0
    counted = top_k + (top_k * (top_k - 1) // 2 if num_experts <= MOST_PAIRED else 0)
    all_gather = num_layers * groups * size * counted * ORDER_BYTES if shards > 1 else 0
    if devices > 1 and not together:
        all_gather += 2 * num_layers * moved
    return Estimate(
        mesh=describe_axes(sizes.items()),
        devices=math.prod(sizes.values()),
        expert_weights=experts,
        other_weights=others,
        expert_gradients=experts,
        other_gradients=others,
        expert_optimizer=optimizer_slots * experts,
        other_optimizer=optimizer_slots * others,
        activations=num_layers * computed * kept * activation_bytes,
        all_to_all=all_to_all,
        all_to_all_leaving=all_to_all * (devices - 1) // devices,
        all_gather=all_gather,
        all_reduce=(others + (0 if together else experts)) if shards > 1 else 0,
    )


def _check_least(least: int, **sizes: int) -> None:
    for name, size in sizes.items():
        check_int(name, size, least, LARGEST_INT)  # no tensor has these sizes


def _axes(mesh: str) -> dict[str, int]:
    sizes = dict(parse_axes(mesh))
    if not set(sizes) <= {"batch", "expert"}:
        raise ValueError(
            f"Expected a mesh of the axes batch and expert. Received: mesh={shown(mesh)}. Rename "
            "the others, or leave them out."
        )
    return sizes


def _check(sizes: dict[str, int], batch_axis: str | None, num_experts: int, top_k: int) -> None:
    if batch_axis is not None and batch_axis not in ("expert", *sizes):
        raise ValueError(
            f"Expected an axis of the mesh ({', '.join(sizes)}), 'auto' or None. Received: "
            f"batch_axis={shown(batch_axis)}. 'auto' chooses as ExpertParallel does."
        )
    if num_experts % sizes.get("expert", 1):
        raise ValueError(
            f"Expected a number of experts that the mesh axis expert={sizes['expert']} divides. "
            f"Received: num_experts={num_experts}. Change the one or the other."
        )
    if top_k > num_experts:
        raise ValueError(
            f"Expected at most as many choices as experts, {num_experts}. Received: top_k={top_k}. "
            "Lower top_k."
        )


def _groups(tokens: int, shards: int, group_size: int | None) -> tuple[int, int]:
    """Return the number of groups and the tokens in each, as `to_groups` makes them."""
    if tokens % shards:
        raise ValueError(
            f"Expected tokens that the {shards} devices of the batch axis divide. Received: "
            f"tokens={tokens}. Change the batch."
        )
    size = tokens // shards if group_size is None else check_int("group_size", group_size, least=1)
    size = min(size, tokens)
    if shards > 1 and tokens // shards % size:
        raise ValueError(
            f"Expected a group_size that divides the tokens of one device, which are "
            f"{tokens // shards}. Received: group_size={group_size}. Change it or the batch."
        )
    return -(-tokens // size), size


def _expert_size(width: int, hidden_dim: int, gated: bool, use_bias: bool) -> int:
    """Return the number of parameters of one expert."""
    kernels = 3 if gated else 2
    biases = (kernels - 1) * hidden_dim + width
    return kernels * width * hidden_dim + use_bias * biases
