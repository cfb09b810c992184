"""What the routers decided for given inputs: plans, kept while a model runs."""

import contextlib

_recordings: list[dict] = []


@contextlib.contextmanager
def record_plans():
    """Within this context every `MoE` layer that is called leaves its plan.

    A layer that is called twice leaves the last one. Call the model itself: within `fit` and
    `predict` layers run only while they are traced.

    Yields:
        `dict` of plans (`RoutingPlan`, `DroplessPlan` or `DensePlan`) by the layer's path.

    Example:

    >>> import keras
    >>> from moe_zoo.experts import FeedForwardExperts
    >>> from moe_zoo.layers import MoE
    >>> from moe_zoo.routers import SwitchRouter
    >>> layer = MoE(SwitchRouter(), FeedForwardExperts(4, 16), name="mixture")
    >>> with record_plans() as plans:
    ...     outputs = layer(keras.random.normal((2, 5, 8)))
    >>> tuple(plans["mixture"].experts.shape)  # groups, choices, tokens
    (1, 1, 10)
    """
    plans: dict = {}
    _recordings.append(plans)
    try:
        yield plans
    finally:
        # By identity: `remove` compares, and would take an equal one, or compare tensors.
        _recordings[:] = [other for other in _recordings if other is not plans]


def record(path, plan):
    """Leave a plan with whoever asked for it."""
    for plans in _recordings:
        plans[path] = plan
