"""Copies of layers and initializers that start with other weights."""

from typing import Any

import keras

SEED_STEP = 1000  # more than the weights of a layer, each of which moves a seed on by one

# What a clone's configuration must not have: it may be built for another width, and Keras takes
# objects of one id for the same object while it loads a model.
NOT_CLONED = ("build_config", "shared_object_id")


def cloned(layer: keras.layers.Layer, number: int, name: str, **changes: Any) -> keras.layers.Layer:
    """Make an unbuilt layer like another one; clones of different numbers start differently.

    Without a seed each draws its own. A seed of the layer, or of an initializer in it, stays in
    clone 0 and is moved on in the others.

    Args:
        layer: a Keras layer.
        number: `int`.
        name: `str`, of the new layer.
        **changes: other arguments to change.
    """
    config = reseeded(layer.get_config(), number)
    return type(layer).from_config({**config, "name": name, **changes})


def reseeded(config: Any, number: int) -> Any:
    """Return the configuration of clone `number`; `-number` leads back.

    Args:
        config: a configuration of a Keras layer, or a part of one.
        number: `int`.
    """
    return _moved(config, SEED_STEP * number)


def initializer_like(initializer: Any, step: int) -> Any:
    """Make an initializer like another one, its seed moved on; without a seed it draws its own.

    Args:
        initializer: a Keras initializer, or a plain function, which is returned as it is.
        step: `int`, added to the seed.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    return type(initializer).from_config(_moved(initializer.get_config(), step))


def _moved(config: Any, step: int) -> Any:
    """Return the configuration with `step` added to every `seed` that is a number."""
    if isinstance(config, list | tuple):
        return type(config)(_moved(value, step) for value in config)
    if not isinstance(config, dict):
        return config
    return {
        name: value + step if name == "seed" and isinstance(value, int) else _moved(value, step)
        for name, value in config.items()
        if name not in NOT_CLONED
    }
