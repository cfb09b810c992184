"""Routing statistics of a stretch of steps, from two readings of sums that go on growing."""

import numpy as np

from moe_zoo.stats import RoutingStats


def since(now: RoutingStats, before: RoutingStats) -> RoutingStats:
    """What routing did between two readings of the same layer.

    If a sum has fallen, somebody reset the statistics in between: then all that `now` holds came
    after `before`, and is returned as it is.

    Args:
        now: the later reading.
        before: the earlier reading.

    Returns:
        `RoutingStats` of the steps in between.

    Example:

    >>> before = RoutingStats(
    ...     load=np.array([2.0, 0.0]), demand=np.array([2.0, 0.0]), importance=np.array([1.5, 0.0]),
    ...     dropped_fraction=0.0, load_cv=1.0, entropy=0.5, dead_experts=[1], tokens=2, steps=1,
    ...     losses={},
    ... )
    >>> now = before._replace(
    ...     load=np.array([3.0, 3.0]), demand=np.array([4.0, 3.0]), tokens=7, steps=2
    ... )
    >>> window = since(now, before)
    >>> window.load.tolist(), window.dropped_fraction, window.load_cv, window.tokens
    ([1.0, 3.0], 0.2, 0.5, 5)
    """
    if _fell(now, before):
        return now
    load, demand = now.load - before.load, now.demand - before.demand
    tokens, steps = now.tokens - before.tokens, now.steps - before.steps
    mean, asked = load.mean(), demand.sum()
    entropy = now.entropy * now.tokens - before.entropy * before.tokens
    return RoutingStats(
        load=load,
        demand=demand,
        importance=now.importance - before.importance,
        dropped_fraction=float((demand - load).sum() / asked) if asked else 0.0,
        load_cv=float(load.std() / mean) if mean else 0.0,
        entropy=entropy / max(tokens, 1),
        dead_experts=np.flatnonzero(load == 0).tolist(),
        tokens=tokens,
        steps=steps,
        losses={
            name: (loss * now.steps - before.losses[name] * before.steps) / max(steps, 1)
            for name, loss in now.losses.items()
        },
    )


def _fell(now: RoutingStats, before: RoutingStats) -> bool:
    return bool(
        now.steps < before.steps
        or now.tokens < before.tokens
        or np.any(now.demand < before.demand)
        or np.any(now.load < before.load)
    )
