"""What the routers decided for given inputs: plans, kept while a model runs."""

import contextlib
import threading


class _Recording:
    """Plans by path and by metric: two models in one may have layers of the same paths."""

    def __init__(self, counts):
        self.counts = counts
        self.plans: dict = {}
        self.by_metric: dict = {}
        self._metrics: dict = {}

    def keep(self, metric, path, plan):
        name, number = path, 0
        while self._metrics.setdefault(name, metric) is not metric:
            number += 1
            name = f"{path}_{number}"
        self.plans[name] = plan
        self.by_metric[metric, path] = plan


class _Recordings(threading.local):
    """Those under way, of each thread: what another one computes meanwhile is not theirs."""

    def __init__(self):
        self.all: list[_Recording] = []


_recordings = _Recordings()


@contextlib.contextmanager
def _recording(counts):
    recording = _Recording(counts)
    _recordings.all.append(recording)
    try:
        yield recording
    finally:
        _recordings.all.remove(recording)


@contextlib.contextmanager
def record_plans():
    """Within this context every `MoE` layer and gate that is called leaves its plan.

    A layer that is called twice leaves the last one. Call the model itself: within `fit` and
    `predict` layers run only while they are traced.

    Yields:
        `dict` of plans (`RoutingPlan`, `DroplessPlan` or `DensePlan`) by the layer's path, that of
        a gate of several tasks with the task behind it; further ones of the same path have `_1`,
        `_2` and so on behind it.

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
    with _recording(counts=True) as recording:
        yield recording.plans


@contextlib.contextmanager
def record_plans_by_metric():
    """As `record_plans`, by `(RoutingMetric, path)` of the layer or gate; nothing is counted."""
    with _recording(counts=False) as recording:
        yield recording.by_metric


def record(metric, path, plan):
    """Leave a plan with whoever asked for it."""
    for recording in _recordings.all:
        recording.keep(metric, path, plan)


def is_counting():
    """Whether what layers do belongs into their statistics."""
    return all(recording.counts for recording in _recordings.all)
