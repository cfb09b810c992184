"""Mixings by name, all of the size of MMoE."""

import bisect
from collections.abc import Callable, Sequence

from moe_zoo.experts import MLPExperts
from moe_zoo.gates import DSelectKGate, NoisyTopKGate, SoftmaxGate
from moe_zoo.layers import CGC, PLE, CrossStitch, MMoE, SharedBottom, SingleTask, TaskMixing

from .settings import RecommenderSettings, units

LEVELS = 2  # of PLE


def make_mixing(
    name: str, settings: RecommenderSettings, num_tasks: int, input_dim: int
) -> TaskMixing:
    """Make a mixing whose networks and first tower layers have as many weights as MMoE's.

    That is how the MMoE paper compares (section 4): in its setting MMoE has 8 experts of 16 units
    on 100 inputs and 2 towers of 8, 13,056 weights, and shared-bottom then 113 units. Biases, gates
    and stitches are not counted. Networks that are scaled keep the proportions of their layers.

    Args:
        name: One of `MIXINGS`.
        settings: Settings of the recipe, with the sizes of MMoE.
        num_tasks: Number of tasks with a tower, T.
        input_dim: Width of a row, D.

    Returns:
        A `TaskMixing`.

    Raises:
        ValueError: If there are fewer experts than `cgc` or `ple` need, or than the sparse gate
            chooses.
    """
    gate = {
        "softmax": lambda: SoftmaxGate(dropout=settings.gate_dropout),
        "noisy_top_k": lambda: NoisyTopKGate(settings.top_k, dropout=settings.gate_dropout),
        "dselect_k": lambda: DSelectKGate(settings.top_k, dropout=settings.gate_dropout),
    }[settings.gate]
    experts, dims = settings.num_experts, units("expert_units", settings.expert_units)
    dtype = settings.precision
    if name in ("mmoe", "omoe"):
        shared_gate = name == "omoe"
        return MMoE(MLPExperts(experts, dims, dtype=dtype), gate(), shared_gate, dtype=dtype)
    tower = units("tower_units", settings.tower_units)[0]
    budget = experts * network_weights(input_dim, dims) + num_tasks * tower * dims[-1]
    if name in ("shared_bottom", "single_task", "cross_stitch"):
        networks = 1 if name == "shared_bottom" else num_tasks
        scaled = scale_units(
            dims,
            lambda sizes: (
                networks * network_weights(input_dim, sizes) + num_tasks * tower * sizes[-1]
            ),
            budget,
        )
        layers = {
            "shared_bottom": SharedBottom,
            "single_task": SingleTask,
            "cross_stitch": CrossStitch,
        }
        return layers[name](scaled, dtype=dtype)
    own, shared = share_experts(experts, num_tasks)
    levels = 1 if name == "cgc" else LEVELS

    def weights(sizes: Sequence[int]) -> int:
        networks = num_tasks * own + shared
        inner = (levels - 1) * networks * network_weights(sizes[-1], sizes)
        return networks * network_weights(input_dim, sizes) + inner + num_tasks * tower * sizes[-1]

    scaled = scale_units(dims, weights, budget)
    parts: dict = {
        "task_experts": MLPExperts(own, scaled, dtype=dtype),
        "shared_experts": MLPExperts(shared, scaled, dtype=dtype),
        "gate": gate(),
        "dtype": dtype,
    }
    return CGC(**parts) if name == "cgc" else PLE(levels=LEVELS, **parts)


def network_weights(input_dim: int, dims: Sequence[int]) -> int:
    """Count the weights of a network with layers of these sizes, without biases."""
    return sum(a * b for a, b in zip((input_dim, *dims), dims, strict=False))


def scale_units(
    dims: Sequence[int], weights: Callable[[Sequence[int]], int], budget: int
) -> tuple[int, ...]:
    """Scale `dims` in proportion until the number of weights is closest to a budget.

    Args:
        dims: Sizes of the layers.
        weights: Function from sizes to the number of weights, which grows with them.
        budget: Number of weights to come close to.

    Example:

    >>> tuple(scale_units((16,), lambda sizes: 100 * sizes[0] + 2 * 8 * sizes[0], 13056))
    (113,)
    """

    def scaled(last: int) -> tuple[int, ...]:
        return tuple(max(1, round(last * size / dims[-1])) for size in dims)

    def above_budget(last: int) -> bool:
        return weights(scaled(last)) > budget

    most = 1
    while not above_budget(most):
        most *= 2
    above = bisect.bisect_left(range(most + 1), True, lo=1, hi=most, key=above_budget)
    nearest = scaled(max(1, above - 1)), scaled(max(2, above))
    return min(nearest, key=lambda sizes: abs(weights(sizes) - budget))


def share_experts(num_experts: int, num_tasks: int) -> tuple[int, int]:
    """Return how many experts each task has of its own, and how many are shared.

    Example:

    >>> share_experts(8, 2)
    (3, 2)
    """
    fewest = -(-num_experts // num_tasks) - 1  # with which a further one each is too many
    of_task = max(1, num_experts // (num_tasks + 1), fewest)
    shared = num_experts - num_tasks * of_task
    if shared < 1:
        raise ValueError(
            f"Expected an expert for each of {num_tasks} tasks and one for all. Received: "
            f"num_experts={num_experts}. Take {num_tasks + 1} or more."
        )
    return of_task, shared
