"""Layers as arguments: of which copies are made, and which a configuration holds."""

import keras

from moe_zoo.clones import cloned, reseeded

TEMPLATES = ("attention", "feed_forward", "norm", "moe", "position")  # of a stack


def default_norm(dtype=None):
    """RMS normalization as T5 has it."""
    return keras.layers.RMSNormalization(epsilon=1e-6, dtype=dtype, name="norm")


def norm_like(norm, name):
    """An unbuilt copy, which passes on masks: RMS normalization alone would warn of them."""
    copy = cloned(norm, 0, name)
    copy.supports_masking = True
    return copy


def revived(config, names, custom_objects=None):
    """The configuration with layers in place of their own configurations."""
    layers = {
        name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
        for name in names
        if config.get(name) is not None
    }
    return {**config, **layers}


def revived_templates(config, custom_objects=None):
    """A configuration of a stack, or of a model of stacks, with layers in place of theirs."""
    return revived(config, TEMPLATES, custom_objects)


def serialized(layer):
    """A layer's own configuration, or `None`."""
    return layer and reseeded(keras.saving.serialize_keras_object(layer), 0)
