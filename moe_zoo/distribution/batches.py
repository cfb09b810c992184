"""Batches on a mesh: spread over an axis, or whole on every device."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.scopes import EXPERT, GROUP, ROW, placing

from .sharded_variable import mesh_layout, to_host, to_mesh


class MeshBatches:
    """Puts batches on a mesh, and makes graphs that run there.

    Args:
        mesh: The mesh.
        batch_axis: Mesh axis over which batches are spread, or `None`.
        expert_axis: Mesh axis of the experts, or `None`.
    """

    def __init__(self, mesh: dtensor.Mesh, batch_axis: str | None, expert_axis: str | None):
        self.mesh, self.batch_axis, self.expert_axis = mesh, batch_axis, expert_axis

    def check(self, batch: Any) -> None:
        """Refuse a first batch of training that the batch axis does not divide.

        Args:
            batch: Nested arrays and `None`.

        Raises:
            ValueError: If it does not.
        """
        if self.batch_axis is not None and not self._divides(batch):
            raise ValueError(
                f"Expected a batch that the mesh axis {self.batch_axis}="
                f"{self.mesh.dim_size(self.batch_axis)} divides. Received: a batch of "
                f"{_rows(batch)}. Change the batch size; only the last batch of an epoch may be "
                "smaller."
            )

    def place(self, batch: Any, spread: bool = True) -> tuple[Any, bool]:
        """Put a batch on the mesh: spread over the batch axis if it divides, else whole everywhere.

        Args:
            batch: Nested arrays and `None`.
            spread: Whether to spread it; else every device holds all of it.

        Returns:
            `(batch, bool)`, with whether it is spread.
        """
        spread = spread and self._divides(batch)

        def place(part: Any) -> Any:
            if part is None:
                return None
            axes: list[str | None] = [None] * len(part.shape)
            if spread:
                axes[0] = self.batch_axis
            return to_mesh(part, mesh_layout(self.mesh, axes))

        return keras.tree.map_structure(place, batch), spread

    def whole_batch_function(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that runs `step` on a batch of which every device computes all rows.

        So the batch is routed as on one device.

        Args:
            step: A function of a batch, to be made into a graph.
        """
        graph = tf.function(step, autograph=False)

        def function(batch: Any) -> Any:
            batch, spread = self.place(batch, spread=False)
            with self.scope(spread):
                return keras.tree.map_structure(to_host, graph(batch))

        return function

    @contextlib.contextmanager
    def scope(self, spread: bool) -> Iterator[None]:
        """Make graphs for the mesh within this context.

        Args:
            spread: Whether batches are spread over the batch axis.
        """
        placement = _Placement(self.mesh, self.batch_axis if spread else None, self.expert_axis)
        with dtensor.default_mesh(self.mesh), placing(placement):
            yield

    def _divides(self, batch: Any) -> bool:
        """Whether there is a batch axis, and it divides the rows of the batch."""
        axis = self.batch_axis
        return axis is not None and _rows(batch) % self.mesh.dim_size(axis) == 0


class _Placement:
    """Fulfills the layout hints of layers, with groups on the axis `group` or whole."""

    def __init__(self, mesh: dtensor.Mesh, group: str | None, expert: str | None):
        self.mesh = mesh
        row = None if group == expert else group
        self.axes: dict[str | None, str | None] = {GROUP: group, EXPERT: expert, ROW: row}
        self.group_shards = 1 if group is None else mesh.dim_size(group)

    def constrain(self, tensor: tf.Tensor, dims: Sequence[str | None]) -> tf.Tensor:
        axes: list[str | None] = [None] * len(tensor.shape)
        for dim, name in enumerate(dims):
            axis = self.axes.get(name)
            if axis not in axes:  # an axis can spread one dimension only
                axes[dim] = axis
        return dtensor.relayout(tensor, mesh_layout(self.mesh, axes))


def _rows(batch: Any) -> int:
    """Return the number of rows of a batch."""
    return next(part.shape[0] for part in keras.tree.flatten(batch) if part is not None)
