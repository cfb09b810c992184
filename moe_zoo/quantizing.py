"""Quantization: Keras knows how for its own layers, and not yet for stacked weights."""

import weakref
from typing import Any

import keras

from moe_zoo.validation import shown


def refuse_quantizing(layer: keras.layers.Layer) -> None:
    """Say that a layer's weights stay as they are. `Model.quantize` makes a warning of it.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        f"Expected layers whose weights Keras can quantize. Received: {type(layer).__name__} "
        f"{shown(layer.path or layer.name)}, whose stacked weights stay {layer.variable_dtype}. "
        "Only the other layers of the model are quantized."
    )


def check_policy(layer: keras.layers.Layer) -> None:
    """Refuse a dtype policy that quantizes.

    Raises:
        ValueError: If the layer's policy is such as "int8_from_float32".
    """
    if layer.quantization_mode is not None:
        raise ValueError(
            f"Expected a dtype policy without quantization for {shown(layer.name)}. Received: "
            f"dtype={shown(layer.dtype_policy.name)}. Give such as 'float32' or 'mixed_bfloat16'; "
            "model.quantize() leaves stacked weights as they are."
        )


def quantized_config(model: keras.Model) -> dict:
    """Return the part of a model's configuration that says which layers are quantized, and how.

    Keras' own models hold the configurations of all layers. One that makes its layers itself would
    make them without quantization, and could not load their weights.

    Returns:
        `dict` of `quantized`: `dict` of mode and Keras' configuration by path; empty if none is.
    """
    serialize = keras.saving.serialize_keras_object
    quantized = {
        layer.path: [layer.quantization_mode, serialize(layer.quantization_config)]
        for layer in _alone(model)
        if layer.quantization_mode is not None
    }
    return {"quantized": quantized} if quantized else {}


def quantize_as(model: keras.Model, quantized: dict) -> None:
    """Quantize the layers of a new model as `quantized_config` found them in another one."""
    for layer in _alone(model):
        if layer.path in quantized and layer.quantization_mode is None:
            mode, config = quantized[layer.path]
            layer.quantize(mode, config=keras.saving.deserialize_keras_object(config))


def _alone(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers that hold no others: those that `Model.quantize` asks."""
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if len(list(layer._flatten_layers())) == 1]


class StackedDropout(keras.layers.Dropout):
    """The dropout of a layer with stacked weights, which speaks for it when a model is quantized.

    `Model.quantize` asks only layers that hold no others.

    Args:
        rate: `float`.
        owner: the layer.
    """

    def __init__(self, rate: float, owner: keras.layers.Layer):
        super().__init__(rate, dtype=owner.dtype_policy, name=f"{owner.name}_dropout")
        self.owner = weakref.ref(owner)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """Say that the owner is not quantized."""
        refuse_quantizing(self.owner())
