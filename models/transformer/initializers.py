"""Initializers of a layer's several kernels."""

import keras


def initializer_like(initializer, number):
    """An initializer like another one; where that has a seed it is moved on by `number`."""
    if not isinstance(initializer, keras.initializers.Initializer):  # a plain function
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += number
    return type(initializer).from_config(config)
