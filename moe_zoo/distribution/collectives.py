"""What the devices of a mesh send to each other: the collectives of the graphs that ran."""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.eager import context


class Collective(NamedTuple):
    """One collective operation of one device.

    Fields:
        op: `str`, `"CollectiveAllToAllV2"` or `"CollectiveReduceV2"`, by which DTensor also
            gathers.
        shape: of the part that the device gives.
        dtype: `tf.DType`.
        name: `str`, of the operation, with the layer that it stems from.
    """

    op: str
    shape: tuple[int, ...]
    dtype: tf.DType
    name: str

    @property
    def kind(self) -> str:
        """`"all-to-all"`, `"all-gather"` or `"all-reduce"`."""
        if self.op == "CollectiveAllToAllV2":
            return "all-to-all"
        return "all-gather" if "AllGather" in self.name else "all-reduce"

    @property
    def bytes(self) -> int:
        """Bytes of the part that the device gives."""
        return math.prod(self.shape) * self.dtype.size


@contextlib.contextmanager
def record_collectives() -> Iterator[list[Collective]]:
    """Record the collectives that run within this context.

    Only graphs that run for the first time are recorded, since TensorFlow reports a graph when it
    lowers it.

    Yields:
        A list, which at the end holds the collectives of the first device of the mesh.
    """
    found: list[Collective] = []
    context.enable_run_metadata()
    context.export_run_metadata()  # of graphs that ran before, if somebody else recorded them
    try:
        yield found
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    for graphs in metadata.function_graphs:
        devices: dict[str, list[Collective]] = {}
        for graph in graphs.partition_graphs:
            for node in graph.node:
                if node.op.startswith("Collective"):
                    shape = node.attr["_output_shapes"].list.shape[0]
                    collective = Collective(
                        node.op,
                        tuple(dim.size for dim in shape.dim),
                        tf.dtypes.as_dtype(node.attr["T"].type),
                        node.name,
                    )
                    devices.setdefault(node.device, []).append(collective)
        found += devices[min(devices)] if devices else []
