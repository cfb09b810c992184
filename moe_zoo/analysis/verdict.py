"""What is wrong with the routing of a layer, in plain words and with what to try."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from moe_zoo.stats import RoutingStats
from moe_zoo.validation import check_int, check_positive, check_rate

DEAD, UNEVEN, DROPPED = "dead", "uneven", "dropped"
BALANCING = ("balance_loss", "importance_loss", "load_loss")  # losses that even out the load
MOST_NAMED = 8  # experts in a sentence


class RoutingBounds(NamedTuple):
    """When the routing of a layer is worth a warning: once something has lasted.

    Fields:
        steps: Training steps that it has to last. Until then the tab says "watching"; at the end of
            a shorter run the callback says what was over a bound.
        load_cv: The load is uneven above this coefficient of variation; 1.0 is that of half of the
            experts doing everything.
        dropped_fraction: Too much is dropped above this share of the tokens' choices.

    Example:

    >>> RoutingBounds(steps=2000).load_cv
    1.0
    """

    steps: int = 500
    load_cv: float = 1.0
    dropped_fraction: float = 0.2

    def check(self) -> "RoutingBounds":
        """Return these bounds, or raise `ValueError` for a number that makes no sense."""
        check_int("steps", self.steps, least=1)
        check_positive("load_cv", self.load_cv)
        check_rate("dropped_fraction", self.dropped_fraction, "0.2 is common.")
        return self


class Finding(NamedTuple):
    """Something over a bound.

    Fields:
        text: What is wrong and what to try; until it has lasted, what is watched and for how long.
        lasted: Whether it has been wrong for `RoutingBounds.steps`.
        is_new: Whether it, or one of its experts, has not been reported before.
    """

    text: str
    lasted: bool
    is_new: bool


class RoutingHealth:
    """What has been wrong with each layer, and for how long.

    Args:
        bounds: When the routing is worth a warning.
    """

    def __init__(self, bounds: RoutingBounds):
        self.bounds = bounds
        self._since: dict[tuple, int] = {}
        self._told: set[tuple] = set()

    def watch(
        self, layer: str, stats: RoutingStats, scalars: Collection[str], start: int, step: int
    ) -> list[Finding]:
        """Return what is over a bound in a layer: first what has lasted for `bounds.steps`.

        Args:
            layer: Name of the layer.
            stats: What its router did from step `start` to step `step`.
            scalars: Names of those of its numbers that mean something.
            start: First step of `stats`.
            step: Last step of `stats`.
        """
        wrong = wrongs(stats, scalars, self.bounds)
        keys = {(layer, kind, expert) for kind, experts in wrong.items() for expert in experts}
        self._since = {
            key: since for key, since in self._since.items() if key[0] != layer or key in keys
        }
        wrong_for_long, watched = [], []
        for kind, experts in wrong.items():
            steps = {e: step - self._since.setdefault((layer, kind, e), start) for e in experts}
            lasted = {e: count for e, count in steps.items() if count >= self.bounds.steps}
            young = {e: count for e, count in steps.items() if e not in lasted}
            if lasted:
                told = {(layer, kind, expert) for expert in lasted}
                text = describe(kind, list(lasted), stats, min(lasted.values()))
                wrong_for_long.append(Finding(text, True, not told <= self._told))
                self._told |= told
            if young:
                text = describe_watched(kind, list(young), stats)
                text += f", {max(young.values()):,} of {self.bounds.steps:,} steps"
                watched.append(Finding(text, False, False))
        return wrong_for_long + watched


def wrongs(stats: RoutingStats, scalars: Collection[str], bounds: RoutingBounds) -> dict[str, list]:
    """Return what is wrong now, and the experts concerned; `[None]` for all."""
    problems: dict[str, list] = {}
    if "dead_experts" in scalars and stats.dead_experts:
        problems[DEAD] = stats.dead_experts
    if "load_cv" in scalars and stats.load_cv > bounds.load_cv:
        problems[UNEVEN] = [None]
    if "dropped_fraction" in scalars and stats.dropped_fraction > bounds.dropped_fraction:
        problems[DROPPED] = [None]
    return problems


def describe(kind: str, experts: list, stats: RoutingStats, steps: int | None) -> str:
    """Return a sentence on what is wrong and one on what to try.

    Args:
        kind: `DEAD`, `UNEVEN` or `DROPPED`.
        experts: The dead ones.
        stats: The latest statistics.
        steps: For how long; `None` is one evaluation.
    """
    lasted = "in this evaluation" if steps is None else f"for {steps:,} steps"
    be = "is" if steps is None else "has been"
    weights = [f"{name}_weight" for name in stats.losses if name in BALANCING]
    balance = f"a higher {' or '.join(weights)}" if weights else "a balance loss of the router"
    if kind == DEAD:
        verb = "has" if len(experts) == 1 else "have"
        return (
            f"{_name(experts, len(stats.load))} {verb} computed nothing {lasted}. Try {balance}, "
            "or a lower learning rate."
        )
    if kind == UNEVEN:
        busiest = int(np.argmax(stats.load))
        return (
            f"The load {be} uneven {lasted}: its CV is {stats.load_cv:.2f}, and expert {busiest} "
            f"computes {stats.load[busiest] / stats.load.sum():.0%} of all. Try {balance}."
        )
    factor = "eval_capacity_factor" if steps is None else "capacity_factor"
    return (
        f"Too much {be} dropped {lasted}: now {stats.dropped_fraction:.0%} of the tokens' choices. "
        f"Try a higher {factor} (None drops nothing) or expert_capacity, or {balance}."
    )


def describe_watched(kind: str, experts: list, stats: RoutingStats) -> str:
    """Return what is over a bound, in a few words; arguments as in `describe`."""
    if kind == DEAD:
        return f"{_name(experts, len(stats.load)).lower()} computed nothing"
    if kind == UNEVEN:
        return f"load CV {stats.load_cv:.2f}"
    return f"{stats.dropped_fraction:.0%} dropped"


def _name(experts: list[int], num_experts: int) -> str:
    if len(experts) == 1:
        return f"Expert {experts[0]}"
    named = [str(expert) for expert in experts[:MOST_NAMED]]
    rest = len(experts) - len(named)
    last = f"{rest} more" if rest else named.pop()
    return f"Experts {', '.join(named)} and {last} ({len(experts)} of {num_experts})"
