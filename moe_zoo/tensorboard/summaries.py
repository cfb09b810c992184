"""The summaries of one layer: scalars and a histogram for TensorBoard, raw vectors for a plugin."""

import json

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata

from moe_zoo.stats import RoutingStats

PLUGIN_NAME = "moe_routing"
VERSION = 1  # of the vectors' layout
VECTORS = ("load", "demand", "importance")
SCALARS = {
    "dropped_fraction": "Share of the tokens' choices that found no free slot.",
    "load_cv": "Standard deviation over mean of the experts' load; 0 is balanced.",
    "importance_cv": "The same of the experts' importance, the sum of their gates.",
    "entropy": "Mean entropy of the router's probabilities, in nats; log(experts) is uniform.",
    "dead_experts": "Number of experts that computed nothing.",
}
LOSS = "Weighted auxiliary loss of the router, mean of a step."
LOAD = "Choices that each expert computed. One bucket is one expert: expert e lies from e to e + 1."


def write_stats(
    layer: str, stats: RoutingStats, scalars: tuple[str, ...], step: int, losses: bool
) -> None:
    """Write the summaries of one layer to the default writer.

    Tags are `<layer>/<scalar>`, `<layer>/<loss>`, the histogram `<layer>/expert_load`, and the
    tensors `<layer>/load`, `<layer>/demand` and `<layer>/importance`, each `<float32>[E]`, under
    the plugin name `moe_routing`.

    Args:
        layer: name of the layer.
        stats: what its router did since the last write.
        scalars: names of those to write, out of `SCALARS`.
        step: training steps so far.
        losses: write the auxiliary losses too; only training has them.
    """
    for name in scalars:
        value = len(stats.dead_experts) if name == "dead_experts" else getattr(stats, name)
        tf.summary.scalar(f"{layer}/{name}", value, step, SCALARS[name])
    for name, value in stats.losses.items() if losses else ():
        tf.summary.scalar(f"{layer}/{name}", value, step, LOSS)
    metadata = histogram_metadata.create_summary_metadata(display_name=None, description=LOAD)
    tf.summary.write(f"{layer}/expert_load", load_histogram(stats.load), step, metadata)
    for name in VECTORS:
        vector = tf.constant(getattr(stats, name), tf.float32)
        tf.summary.write(f"{layer}/{name}", vector, step, vector_metadata(layer, name))


def load_histogram(load: np.ndarray) -> tf.Tensor:
    """`<float32>[E]` -> `<float64>[E, 3]`: left and right edge and count of each expert."""
    edges = np.arange(len(load) + 1, dtype="float64")
    return tf.constant(np.stack([edges[:-1], edges[1:], load], axis=1), tf.float64)


def vector_metadata(layer: str, name: str) -> summary_pb2.SummaryMetadata:
    """Metadata that lets TensorBoard list a tensor under this library's plugin."""
    content = json.dumps({"version": VERSION, "layer": layer, "kind": name})
    return summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(
            plugin_name=PLUGIN_NAME, content=content.encode()
        ),
        data_class=summary_pb2.DATA_CLASS_TENSOR,  # without a class no tag is listed
    )
