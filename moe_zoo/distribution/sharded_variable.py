"""Values on a mesh: from the host to the devices and back, and variables that live there."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.processes import process_count

from .cluster import collective


def mesh_layout(mesh: dtensor.Mesh, axes: Iterable[str | None]) -> dtensor.Layout:
    """Return the layout of a tensor whose dimensions lie on some axes.

    Args:
        mesh: The mesh.
        axes: An axis of it for each dimension, or `None`.
    """
    return dtensor.Layout([axis or dtensor.UNSHARDED for axis in axes], mesh)


def to_mesh(value: Any, layout: dtensor.Layout) -> tf.Tensor:
    """Return a value of the host, the same in each process, as a tensor on the mesh.

    Each device gets its own part only.

    Args:
        value: An array of a shape that the layout's axes divide.
        layout: Where the tensor lies.
    """
    value = np.asarray(value)
    parts = [
        tf.constant(value[part_of(value.shape, layout, location)])
        for location in layout.mesh.local_device_locations()
    ]
    return dtensor.pack(parts, layout)


def to_host(tensor: Any) -> np.ndarray:
    """Return the whole value of a tensor; every process of the mesh has to take part."""
    if not dtensor.is_dtensor(tensor):
        return np.asarray(tensor)
    layout = dtensor.fetch_layout(tensor)
    if layout.is_fully_replicated():
        return dtensor.unpack(tensor)[0].numpy()
    if process_count() > 1:  # the other parts are elsewhere
        with collective(f"reading a tensor of shape {tuple(tensor.shape)}"):
            tensor = dtensor.relayout(tensor, dtensor.Layout.replicated(layout.mesh, layout.rank))
            return dtensor.unpack(tensor)[0].numpy()
    whole = np.empty(tensor.shape, tensor.dtype.as_numpy_dtype)
    for part, location in zip(
        dtensor.unpack(tensor), layout.mesh.local_device_locations(), strict=True
    ):
        whole[part_of(whole.shape, layout, location)] = part.numpy()
    return whole


def part_of(shape: Any, layout: dtensor.Layout, location: dict[str, int]) -> tuple[slice, ...]:
    """Return the slices of a value that the device at a location of the mesh holds."""
    slices = []
    for size, axis in zip(shape, layout.sharding_specs, strict=True):
        if axis == dtensor.UNSHARDED:
            slices.append(slice(None))
        else:
            part = size // layout.mesh.dim_size(axis)
            slices.append(slice(location[axis] * part, (location[axis] + 1) * part))
    return tuple(slices)


class ShardedVariable(dtensor.DVariable):
    """A variable on the mesh that reads, is assigned and is saved as its whole value."""

    def numpy(self) -> np.ndarray:
        """Return the whole value."""
        return to_host(self.read_value())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype=dtype)

    def assign(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Assign a value of the mesh, or a whole value of the host."""
        if tf.executing_eagerly() and not dtensor.is_dtensor(value):
            value = to_mesh(np.asarray(value, self.dtype.as_numpy_dtype), self.layout)
        return super().assign(value, *args, **kwargs)

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        return {"VARIABLE_VALUE": tf.constant(self.numpy())}

    def _restore_from_tensors(self, restored_tensors: dict[str, tf.Tensor]) -> Any:
        with tf.init_scope():
            return self.assign(restored_tensors["VARIABLE_VALUE"])
