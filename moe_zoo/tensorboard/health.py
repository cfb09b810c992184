"""What is wrong with the routing of layers: judged, and reported once."""

import logging
from collections.abc import Collection
from typing import NamedTuple

from moe_zoo.analysis.verdict import RoutingBounds, RoutingHealth, describe, wrongs
from moe_zoo.stats import RoutingMetric, RoutingStats
from moe_zoo.terminal import show_text

logger = logging.getLogger("moe_zoo")
logger.addHandler(logging.NullHandler())  # else Python would print what `fit` prints already


class Health(NamedTuple):
    """The problems of a layer's routing: a healthy layer has none.

    Fields:
        wrong: Sentences on what has been wrong for long.
        watched: What is over a bound, but has not lasted.
    """

    wrong: list[str]
    watched: list[str]


class HealthJudge:
    """Judges layers by their statistics, and reports what is new in training.

    Args:
        bounds: When to warn, or `None` for never.
    """

    def __init__(self, bounds: RoutingBounds | None):
        self.bounds = bounds
        self.start()

    def start(self) -> None:
        """Forget what an earlier training had."""
        self._health = None if self.bounds is None else RoutingHealth(self.bounds)
        self._watched: dict[str, list[str]] = {}

    def judge_training(
        self, layer: str, metric: RoutingMetric, stats: RoutingStats, start: int, step: int
    ) -> Health | None:
        """Return the health of a layer, and report what is new; `None` if it is not judged.

        Args:
            layer: Name of the layer.
            metric: Its metric.
            stats: What its router did from step `start` to step `step`.
            start: First step of `stats`.
            step: Last step of `stats`.
        """
        self._watched.pop(layer, None)
        scalars = _judged(metric)
        if self._health is None or not scalars or not stats.steps:
            return None
        findings = self._health.watch(layer, stats, scalars, start, step)
        for each in findings:
            if each.is_new:
                _report(f"{layer}, step {step:,}: {each.text}")
        self._watched[layer] = [each.text for each in findings if not each.lasted]
        return Health([each.text for each in findings if each.lasted], self._watched[layer])

    def judge_evaluation(self, metric: RoutingMetric, stats: RoutingStats) -> Health | None:
        """Return the health of a layer in one evaluation; `None` if it is not judged."""
        scalars = _judged(metric)
        if self.bounds is None or not scalars:
            return None
        wrong = wrongs(stats, scalars, self.bounds).items()
        return Health([describe(*each, stats, None) for each in wrong], watched=[])

    def finish(self) -> None:
        """Report what is over a bound as training ends, however short that has been."""
        for layer, watched in self._watched.items():
            for text in watched:
                _report(f"{layer}, over a bound as training ends: {text}")


def _report(message: str) -> None:
    """Show a warning in `fit`'s output and write it to Python's log."""
    show_text(f"\n{message}")
    logger.warning(message)


def _judged(metric: RoutingMetric) -> Collection[str]:
    """Return the numbers that judge a layer: none of a gate, as other tasks may take the rest."""
    return metric.scalars if metric.group is None else ()
