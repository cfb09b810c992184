"""Layers like another one, which start with other weights."""

SEED_STEP = 1000  # more than the weights of a layer, each of which moves a seed on by one

# Of parts in a layer: clones may see other widths, and must not share what Keras knows again by its
# identity while it loads a model.
NOT_CLONED = ("build_config", "shared_object_id")


def cloned(layer, number, name, **changes):
    """An unbuilt layer like another one; clones of different numbers start differently.

    Without a seed each draws its own. Where the layer or an initializer in it has one, that of
    clone 0 is the same, the others are moved on.

    Args:
        layer: a Keras layer.
        number: `int`.
        name: `str`, of the new layer.
        **changes: other arguments to change.
    """
    config = reseeded(layer.get_config(), number)
    return type(layer).from_config({**config, "name": name, **changes})


def reseeded(config, number):
    """A configuration whose seeds are those of clone `number`; `-number` leads back."""
    if isinstance(config, list | tuple):
        return type(config)(reseeded(value, number) for value in config)
    if not isinstance(config, dict):
        return config
    return {
        name: value + SEED_STEP * number
        if name == "seed" and isinstance(value, int)
        else reseeded(value, number)
        for name, value in config.items()
        if name not in NOT_CLONED
    }
