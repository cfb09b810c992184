"""Meshes: devices in named axes."""

import math
import re
from collections.abc import Iterable

import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.processes import process_count
from moe_zoo.validation import check_int, shown

from .cluster import connect

AXIS = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([0-9]{1,9})\s*")


def parse_axes(text: str) -> list[tuple[str, int]]:
    """Return the names and sizes of the axes in a text.

    Raises:
        ValueError: If the text has another form, an axis twice, or a size of zero.

    Example:

    >>> parse_axes("batch=2,expert=4")
    [('batch', 2), ('expert', 4)]
    """
    matches = [AXIS.fullmatch(part) for part in str(text).split(",")]
    axes = [(match[1], int(match[2])) for match in matches if match]
    names = [name for name, _ in axes]
    if len(axes) != len(matches) or len(set(names)) != len(names) or 0 in dict(axes).values():
        raise ValueError(
            "Expected different axes with sizes of 1 or more, such as 'expert=4' or "
            f"'batch=2,expert=4'. Received: mesh={shown(text)}."
        )
    return axes


def make_mesh(text: str, device_type: str | None = None) -> dtensor.Mesh:
    """Make a mesh over the devices of this process, or of all processes of a cluster.

    Args:
        text: The axes, as `parse_axes` reads them.
        device_type: `"CPU"` or `"GPU"`; `None` takes the GPUs if there are any.

    Raises:
        ValueError: If the text has another form, there is no device of that type, or fewer than the
            axes need.
        RuntimeError: If there is a cluster, and TensorFlow has started before it.
        WorkerLostError: If a process of the cluster cannot be reached.
    """
    axes = parse_axes(text)
    if device_type is None:
        device_type = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if not tf.config.list_physical_devices(device_type):
        raise ValueError(
            f"Expected a machine with a {device_type}. Received: device_type={shown(device_type)}, "
            "and TensorFlow finds none here. Take device_type='CPU', or look at what "
            "tf.config.list_physical_devices() says."
        )
    needed = math.prod(size for _, size in axes)
    connect(device_type)
    count = process_count()
    here = len(tf.config.list_logical_devices(device_type)) // count  # it lists those of all
    if needed > count * here or needed % count:
        processes = f" in each of {count} processes" if count > 1 else ""
        raise ValueError(
            f"Expected {needed} devices for the mesh {describe_axes(axes)}. Received: "
            f"{here} {device_type}{processes}. Make the mesh smaller, or split a CPU with "
            "moe_zoo.distribution.virtual_devices(n) before TensorFlow starts "
            "(--virtual-devices n on the command line)."
        )
    devices = [f"{device_type}:{index}" for index in range(needed // count)]
    if dtensor.jobs():
        return dtensor.create_distributed_mesh(axes, local_devices=devices)
    return dtensor.create_mesh(axes, devices=devices)


def describe_axes(axes: Iterable[tuple[str, int]]) -> str:
    """Return the axes as the text that `parse_axes` reads."""
    return ",".join(f"{name}={size}" for name, size in axes)


def virtual_devices(count: int) -> None:
    """Split the CPU of this process into logical devices, to try a mesh on one machine.

    Args:
        count: Number of devices.

    Raises:
        ValueError: If the number is not positive.
        RuntimeError: If TensorFlow has started already.
    """
    check_int("count", count, least=1)
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
        # A collective holds a thread while it waits for the other devices.
        tf.config.threading.set_inter_op_parallelism_threads(max(8, 4 * count))
    except RuntimeError as error:
        raise RuntimeError(
            f"Expected to split the CPU before TensorFlow starts. Received: "
            f"virtual_devices({count}) after it did. Call it first of all."
        ) from error
