"""What a mesh cannot run, refused with advice before anything is compiled."""

import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from moe_zoo.experts.experts import Experts
from moe_zoo.processes import process_count
from moe_zoo.routers import TokenChoiceRouter
from moe_zoo.validation import shown

from .sharded_variable import to_host
from .xla import asked_for_xla


def check_model(model: keras.Model, expert_axis: str | None, devices: int) -> None:
    """Refuse a model that the mesh cannot run.

    Args:
        model: A Keras model.
        expert_axis: Mesh axis of the experts, or `None`.
        devices: Size of that axis.

    Raises:
        ValueError: If there is a recurrent loop, a dropless router, a number of experts that the
            axis does not divide, or what `check_compiled` refuses.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Bidirectional):
            raise ValueError(
                f"Expected layers that DTensor can run. Received: {shown(layer.path)}, a "
                "Bidirectional, whose reversal of time it cannot. Use a layer for one direction."
            )
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ValueError(
                f"Expected recurrent layers without a loop. Received: {shown(layer.path)} with "
                "unroll=False, on which DTensor fails or kills the process. Build it with "
                "unroll=True and inputs of a fixed length; LSTMLanguageModel does so with "
                "sequence_length=..."
            )
        if isinstance(layer, TokenChoiceRouter):
            _check_router(layer)
        if isinstance(layer, Experts) and expert_axis and layer.num_experts % devices:
            raise ValueError(
                f"Expected a number of experts that the mesh axis {expert_axis}={devices} divides. "
                f"Received: {shown(layer.path)} with num_experts={layer.num_experts}. Change the "
                "one or the other."
            )
    check_compiled(model)


def check_compiled(model: keras.Model) -> None:
    """Refuse what `compile` can ask for and a mesh does not have.

    Args:
        model: A Keras model, compiled or not.

    Raises:
        ValueError: If it was compiled for eager or XLA execution, or sparse gradients.
    """
    if getattr(model, "run_eagerly", False):
        raise ValueError(
            "Expected a model that runs as a graph. Received: run_eagerly=True. Compile it with "
            "run_eagerly=False to distribute it."
        )
    if asked_for_xla(model):
        raise ValueError(
            "Expected a model without XLA. Received: jit_compile=True. Compile it with "
            "jit_compile=False to distribute it."
        )
    optimizer: Any = getattr(model, "optimizer", None)
    if getattr(getattr(optimizer, "inner_optimizer", optimizer), "sparse_gradients", False):
        raise ValueError(
            "Expected an optimizer for dense gradients, as those on a mesh are. Received: "
            f"optimizer={optimizer.name}. Use keras.optimizers.Adam there."
        )


def check_equal_everywhere(values: Iterable[Any], mesh: dtensor.Mesh, name: str) -> None:
    """Refuse values that differ between the processes of a mesh.

    Args:
        values: Arrays.
        mesh: The mesh of the processes.
        name: What the values are, for the message.

    Raises:
        ValueError: If they differ.
    """
    if process_count() == 1:
        return
    checksum = 0
    for value in values:
        checksum = zlib.crc32(np.asarray(value).tobytes(), checksum)
    shape = [1] * len(mesh.dim_names)
    own_checksum = tf.fill(shape, tf.constant(checksum, tf.int64))
    layout = dtensor.Layout(mesh.dim_names, mesh)
    checksums = to_host(dtensor.pack([own_checksum] * mesh.num_local_devices(), layout))
    if (checksums != checksum).any():
        raise ValueError(
            f"Expected {name} to be the same in all processes. Received: checksums "
            f"{', '.join(map(str, np.unique(checksums)))}. Call keras.utils.set_random_seed with "
            "one seed in all of them before anything is drawn, and give them the same data."
        )


def _check_router(router: TokenChoiceRouter) -> None:
    for name in ("capacity_factor", "eval_capacity_factor"):
        if getattr(router, name) is None and router.expert_capacity is None:
            full = (router.num_experts or router.top_k) / router.top_k
            raise ValueError(
                f"Expected routers with a capacity, since every device computes equally many "
                f"slots. Received: {shown(router.path)} with {name}=None (dropless). Give it 1.25 "
                f"or 2; with {full:g} nothing is ever dropped, at the price of memory."
            )
