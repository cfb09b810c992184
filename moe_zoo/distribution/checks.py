"""What a mesh cannot run, refused with advice before anything is compiled."""

import keras

from moe_zoo.experts.experts import Experts
from moe_zoo.routers import TokenChoiceRouter


def check_model(model, expert_axis, devices):
    """Refuse a model that the mesh cannot run.

    Args:
        model: a Keras model.
        expert_axis: mesh axis of the experts, or `None`.
        devices: `int`, size of that axis.

    Raises:
        ValueError: a recurrent loop, a dropless router, eager or XLA execution, or a number of
            experts that the axis does not divide.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Bidirectional):
            raise ValueError(
                f"Expected layers that DTensor can run. Received: {layer.path!r}, a Bidirectional, "
                "whose reversal of time it cannot. Use a layer for one direction."
            )
        if isinstance(layer, keras.layers.RNN) and not layer.unroll:
            raise ValueError(
                f"Expected recurrent layers without a loop. Received: {layer.path!r} with "
                "unroll=False, on which DTensor fails or kills the process. Build it with "
                "unroll=True and inputs of a fixed length; LSTMLanguageModel does so with "
                "sequence_length=..."
            )
        if isinstance(layer, TokenChoiceRouter):
            _check_router(layer)
        if isinstance(layer, Experts) and expert_axis and layer.num_experts % devices:
            raise ValueError(
                f"Expected a number of experts that the mesh axis {expert_axis}={devices} divides. "
                f"Received: {layer.path!r} with num_experts={layer.num_experts}. Change the one or "
                "the other."
            )
    if getattr(model, "run_eagerly", False):
        raise ValueError(
            "Expected a model that runs as a graph. Received: run_eagerly=True. Compile it with "
            "run_eagerly=False to distribute it."
        )
    if getattr(model, "optimizer", None) is not None and model.jit_compile is True:
        raise ValueError(
            "Expected a model without XLA. Received: jit_compile=True. Compile it with "
            "jit_compile=False to distribute it."
        )


def _check_router(router):
    for name in ("capacity_factor", "eval_capacity_factor"):
        if getattr(router, name) is None:
            whole = (router.num_experts or router.top_k) / router.top_k
            raise ValueError(
                f"Expected routers with a capacity, since every device computes equally many "
                f"slots. Received: {router.path!r} with {name}=None (dropless). Give it 1.25 or 2; "
                f"with {whole:g} nothing is ever dropped, at the price of memory."
            )
