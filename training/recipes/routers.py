"""Routers by name: one table for settings, for the command, and for the models of recipes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # the command shows its help without TensorFlow
    from moe_zoo.routers import TokenChoiceRouter

DENSE = "dense"  # no router: the FLOP-matched dense baseline
MESH_CAPACITY_FACTORS = 1.25, 2.0  # in training and evaluation, where a mesh cannot be dropless


class RouterEntry(NamedTuple):
    """One row of the table.

    Attributes:
        class_name: Name of the class in `moe_zoo.routers`.
        top_k: Experts per token by default.
        balance_losses: Arguments that take the weight of the balance losses.
    """

    class_name: str
    top_k: int
    balance_losses: Sequence[str] = ("balance_loss_weight",)


ROUTERS = {
    "switch": RouterEntry("SwitchRouter", top_k=1),
    "gshard": RouterEntry("GShardRouter", top_k=2),
    "noisy_top_k": RouterEntry(
        "NoisyTopKRouter", top_k=2, balance_losses=("importance_loss_weight", "load_loss_weight")
    ),
}
ROUTERS_OR_DENSE = (*ROUTERS, DENSE)


def make_router(
    name: str,
    num_experts: int,
    top_k: int | None = None,
    balance_weight: float | None = None,
    **options: Any,
) -> "TokenChoiceRouter":
    """Make a router and check that it fits the number of experts.

    Args:
        name: Name of the router, one of `ROUTERS`.
        num_experts: Number of experts.
        top_k: Experts per token; `None` for the router's default.
        balance_weight: Weight of the balance losses; `None` for the router's default.
        **options: Further arguments of the router, such as `capacity_factor`.

    Raises:
        ValueError: If `top_k` is greater than `num_experts`.
    """
    from moe_zoo import routers

    entry = ROUTERS[name]
    if balance_weight is not None:
        options |= dict.fromkeys(entry.balance_losses, balance_weight)
    router = getattr(routers, entry.class_name)(top_k=top_k or entry.top_k, **options)
    router.set_num_experts(num_experts)
    return router


def mesh_factors(capacity_factor: float | None, on_mesh: bool) -> tuple[float | None, float | None]:
    """Return the capacity factors of training and evaluation.

    Args:
        capacity_factor: Factor in training; `None` is dropless, which a mesh cannot be.
        on_mesh: Whether the model runs on a mesh. Off the mesh its evaluation is dropless.
    """
    if not on_mesh:
        return capacity_factor, None
    return capacity_factor or MESH_CAPACITY_FACTORS[0], MESH_CAPACITY_FACTORS[1]
