"""Ambient state: what holds for everything that runs within a `with` block.

There are three scopes: on which mesh axes tensors lie (`placing`), whether operations have to exist
outside of TensorFlow (`portable_operations`), and who wants to see the plans of the routers
(`record_plans`). Each is a `ContextVar`: a block holds in the thread that opened it, and so neither
in other threads nor in those in which `MirroredStrategy` runs its replicas.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Scope(Generic[T]):
    """A value that a `with` block sets for its own thread.

    Args:
        name: name for error messages.
        default: the value outside of any block.

    Example:

    >>> depth = Scope("depth", 0)
    >>> with depth.set(1):
    ...     depth.get()
    1
    >>> depth.get()
    0
    """

    def __init__(self, name: str, default: T):
        self._variable = contextvars.ContextVar(name, default=default)

    def get(self) -> T:
        """Return the value of the innermost block."""
        return self._variable.get()

    @contextlib.contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value within this context."""
        token = self._variable.set(value)
        try:
            yield
        finally:
            self._variable.reset(token)


# === Placement: on which mesh axis a dimension of a tensor lies ===

# Layers name dimensions of their tensors; `placing` decides on which mesh axes they lie. `ROW` is a
# row that every expert computes: it lies where groups lie, unless the experts lie on the same axis;
# then rows are whole.
GROUP, EXPERT, ROW = "group", "expert", "row"


class Placement(Protocol):
    """Fulfills placement hints, with `group_shards` devices over which groups are spread."""

    group_shards: int

    def constrain(self, tensor: Any, dims: tuple[str | None, ...]) -> Any:
        """Return the tensor with its dimensions laid out as named."""


_placement: Scope[Placement | None] = Scope("placement", None)


def placing(placement: Placement) -> contextlib.AbstractContextManager[None]:
    """Let a placement fulfill the hints within this context.

    Args:
        placement: an object with `constrain(tensor, dims) -> tensor` and `group_shards`, the number
            of devices over which the groups of tokens are spread.
    """
    return _placement.set(placement)


def constrain(tensor: Any, *dims: str | None) -> Any:
    """Lay the dimensions of a tensor out as named. Without a mesh nothing happens.

    Args:
        tensor: any tensor.
        *dims: for each leading dimension `GROUP`, `EXPERT`, `ROW` or `None` for a whole copy
            everywhere; dimensions left out are whole.
    """
    placement = _placement.get()
    return tensor if placement is None else placement.constrain(tensor, dims)


def group_shards() -> int:
    """Return the number of devices over which groups are spread; each routes its own."""
    placement = _placement.get()
    return 1 if placement is None else placement.group_shards


# === Portable operations: those that ONNX and LiteRT have too ===

_portable = Scope("portable", False)


def portable() -> bool:
    """Return whether the graph that is traced has to run outside of TensorFlow."""
    return _portable.get()


def portable_operations() -> contextlib.AbstractContextManager[None]:
    """Trace common operations within this context, which give the same results.

    The loop over experts is unrolled, so that the graph grows with their number.
    """
    return _portable.set(True)


# === Recording: the plans of the routers, kept while a model runs ===


class _Recording:
    """Plans by path and by metric: two models in one may have layers of the same path."""

    def __init__(self, counts: bool) -> None:
        self.counts = counts
        self.plans: dict = {}
        self.by_metric: dict = {}
        self._metrics: dict = {}

    def keep(self, metric: Any, path: str, plan: Any) -> None:
        name, number = path, 0
        while self._metrics.setdefault(name, metric) is not metric:
            number += 1
            name = f"{path}_{number}"
        self.plans[name] = plan
        self.by_metric[metric, path] = plan


_recordings: Scope[tuple[_Recording, ...]] = Scope("recordings", ())


@contextlib.contextmanager
def record_plans() -> Iterator[dict]:
    """Keep the plan of every `MoE` layer and gate that is called within this context.

    Of a layer that is called twice the last plan is kept. Call the model itself: within `fit` and
    `predict` layers run only while they are traced.

    Yields:
        `dict` of plans (`RoutingPlan`, `DroplessPlan` or `DensePlan`) by the layer's path; for a
        gate of several tasks the task follows the path. Further layers of the same path get `_1`,
        `_2` and so on.

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
    recording = _Recording(counts=True)
    with _recordings.set((*_recordings.get(), recording)):
        yield recording.plans


@contextlib.contextmanager
def record_plans_by_metric() -> Iterator[dict]:
    """Record plans by `(RoutingMetric, path)` of the layer or gate; statistics stay as they are."""
    recording = _Recording(counts=False)
    with _recordings.set((*_recordings.get(), recording)):
        yield recording.by_metric


def record(metric: Any, path: str, plan: Any) -> None:
    """Pass the plan to every active recording."""
    for recording in _recordings.get():
        recording.keep(metric, path, plan)


def is_counting() -> bool:
    """Return whether layers add what they do to their statistics."""
    return all(recording.counts for recording in _recordings.get())
