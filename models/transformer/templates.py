"""Layers as arguments: of which copies are made, and which a configuration holds."""

from collections.abc import Iterable
from typing import Any

import keras

from moe_zoo.clones import cloned, reseeded

TEMPLATES = ("attention", "feed_forward", "norm", "moe", "position")  # of a stack


def default_norm(dtype: Any = None) -> keras.layers.Layer:
    """Return RMS normalization as T5 has it."""
    return keras.layers.RMSNormalization(epsilon=1e-6, dtype=dtype, name="norm")


def norm_like(norm: keras.layers.Layer, name: str) -> keras.layers.Layer:
    """Return an unbuilt copy that passes on masks, of which RMS normalization would warn."""
    copy = cloned(norm, 0, name)
    copy.supports_masking = True
    return copy


def revived(config: dict, names: Iterable[str], custom_objects: dict | None = None) -> dict:
    """Return the configuration with layers in place of their own configurations."""
    layers = {
        name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
        for name in names
        if config.get(name) is not None
    }
    return {**config, **layers}


def revived_templates(config: dict, custom_objects: dict | None = None) -> dict:
    """Return the configuration of a stack, or of a model of stacks, with its layers revived."""
    return revived(config, TEMPLATES, custom_objects)


def serialized(layer: keras.layers.Layer | None) -> dict | None:
    """Return a layer's serialized configuration, or `None`."""
    return layer and reseeded(keras.saving.serialize_keras_object(layer), 0)
