"""What the routers decided for given inputs: plans, kept while a model runs."""

import contextlib

_recordings: list["_Recording"] = []


class _Recording:
    """Plans by path, and which layer has which path: two models in one may have the same paths."""

    def __init__(self):
        self.plans: dict = {}
        self.layers: dict = {}

    def keep(self, layer, plan):
        path, number = layer.path, 0
        while self.layers.setdefault(path, layer) is not layer:
            number += 1
            path = f"{layer.path}_{number}"
        self.plans[path] = plan


@contextlib.contextmanager
def record_plans():
    """Within this context every `MoE` layer that is called leaves its plan.

    A layer that is called twice leaves the last one. Call the model itself: within `fit` and
    `predict` layers run only while they are traced.

    Yields:
        `dict` of plans (`RoutingPlan`, `DroplessPlan` or `DensePlan`) by the layer's path; further
        layers of the same path have `_1`, `_2` and so on behind it.

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
    recording = _Recording()
    _recordings.append(recording)
    try:
        yield recording.plans
    finally:
        _recordings.remove(recording)


def record(layer, plan):
    """Leave a layer's plan with whoever asked for it."""
    for recording in _recordings:
        recording.keep(layer, plan)
