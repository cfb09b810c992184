"""Reads the event files that `RoutingCallback` writes, by TensorBoard's own reader."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray


def read(folder):
    """`{tag: [(step, value)]}` and the metadata of each tag of a run."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    values = {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in tags
    }
    return values, {tag: events.SummaryMetadata(tag) for tag in tags}
