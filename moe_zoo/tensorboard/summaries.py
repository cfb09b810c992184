"""The summaries of one layer: scalars and a histogram for TensorBoard, tensors for the plugin."""

import json
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata

from moe_zoo.stats import RoutingStats

from .health import Health
from .names import PLUGIN_NAME, VERSION

VECTORS = ("load", "demand", "importance", "gate_mean")
SCALARS = {
    "dropped_fraction": "Share of the tokens' choices that found no free slot.",
    "load_cv": "Standard deviation over mean of the experts' load; 0 is balanced.",
    "importance_cv": "The same of the experts' importance, the sum of their gates.",
    "entropy": "Mean entropy of the router's probabilities, in nats; log(experts) is uniform.",
    "dead_experts": "Number of experts that computed nothing.",
}
LOSS = "Weighted auxiliary loss of the router, mean of a step."
LOAD = "Choices that each expert computed. One bucket is one expert: expert e lies from e to e + 1."


class RoutedLayer(NamedTuple):
    """What the summaries of a layer say about it.

    Fields:
        name: Name of the layer, with which its tags begin.
        place: Index among the layers of the model.
        scalars: Names of those of `SCALARS` that mean something.
        group: Name of the layer that mixes for several tasks, whose gate this is; else `None`.
        task: Name of the gate's task, `None` if one gate serves all.
    """

    name: str
    place: int
    scalars: tuple[str, ...]
    group: str | None
    task: str | None

    def metadata(self, kind: str) -> summary_pb2.SummaryMetadata:
        """Return metadata by which TensorBoard lists a tensor under this library's plugin."""
        about = {"layer": self.name, "index": self.place, "group": self.group, "task": self.task}
        content = json.dumps({"version": VERSION, "kind": kind, **about})
        return summary_pb2.SummaryMetadata(
            plugin_data=summary_pb2.SummaryMetadata.PluginData(
                plugin_name=PLUGIN_NAME, content=content.encode()
            ),
            data_class=summary_pb2.DATA_CLASS_TENSOR,  # without a class no tag is listed
        )

    def write(self, kind: str, tensor: tf.Tensor, step: int) -> None:
        """Write a tensor for the plugin to the default writer."""
        tf.summary.write(f"{self.name}/{kind}", tensor, step, self.metadata(kind))


def write_stats(
    layer: RoutedLayer, stats: RoutingStats, health: Health | None, step: int, losses: bool
) -> None:
    """Write the summaries of one layer to the default writer.

    For TensorBoard's own tabs `<layer>/<scalar>`, `<layer>/<loss>` and the histogram
    `<layer>/expert_load`; for the plugin `<layer>/<kind>` with the kinds `load`, `demand`,
    `importance` and `gate_mean`, `<float32>[E]`, `balance`, `<float32>[5]` in the order of
    `SCALARS`, and, of a layer that is judged, `health` and `watched`, `<string>[sentences]`.

    Args:
        layer: The layer.
        stats: What its router did since the last write.
        health: Its health, or `None` if the layer is not judged.
        step: Training steps so far.
        losses: Whether to write the auxiliary losses too; only training has them.
    """
    numbers = {name: getattr(stats, name) for name in SCALARS}
    numbers["dead_experts"] = len(stats.dead_experts)
    for name in layer.scalars:
        tf.summary.scalar(f"{layer.name}/{name}", numbers[name], step, SCALARS[name])
    for name, value in stats.losses.items() if losses else ():
        tf.summary.scalar(f"{layer.name}/{name}", value, step, LOSS)
    metadata = histogram_metadata.create_summary_metadata(display_name=None, description=LOAD)
    tf.summary.write(f"{layer.name}/expert_load", load_histogram(stats.load), step, metadata)
    for name in VECTORS:
        layer.write(name, tf.constant(getattr(stats, name), tf.float32), step)
    layer.write("balance", tf.constant(list(numbers.values()), tf.float32), step)
    if health is not None:
        layer.write("health", tf.constant(health.wrong, tf.string), step)
        layer.write("watched", tf.constant(health.watched, tf.string), step)


def write_pairs(layer: RoutedLayer, pairs: np.ndarray, step: int) -> None:
    """Write how many tokens asked for each two experts, `<float32>[E, E]`, for the plugin."""
    layer.write("pairs", tf.constant(pairs, tf.float32), step)


def write_examples(layer: RoutedLayer, examples: str, step: int) -> None:
    """Write the experts of the examples' tokens, in JSON, for the plugin."""
    layer.write("examples", tf.constant(examples), step)


def load_histogram(load: np.ndarray) -> tf.Tensor:
    """Return left and right edge and count of each expert: `<float32>[E]` -> `<float64>[E, 3]`."""
    edges = np.arange(len(load) + 1, dtype="float64")
    return tf.constant(np.stack([edges[:-1], edges[1:], load], axis=1), tf.float64)
