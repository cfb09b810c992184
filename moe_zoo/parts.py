"""Parts of layers and models, such as routers, experts and gates: each belongs to one of them."""

import gc
import weakref

import keras

from moe_zoo.validation import shown

# Next to the layers and not in them, so that a copy of a part belongs to nobody yet.
_owners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def take_parts(owner: keras.layers.Layer, **parts: keras.layers.Layer | None) -> None:
    """Make layers parts of another one, as the last thing that its constructor does.

    Keras writes weights once for each place in a model. Of a part in two places it would not find
    the second ones when it loads the file.

    Args:
        owner: the layer that the parts are given to.
        **parts: layers by the name of their argument; `None` is no part.

    Raises:
        ValueError: If a part is in two places of the layer, or belongs to another one that is
            still in use.

    Example:

    >>> first, second, part = (keras.layers.Dense(1, name=name) for name in ("a", "b", "c"))
    >>> take_parts(first, experts=part)
    >>> take_parts(second, experts=part)
    Traceback (most recent call last):
        ...
    ValueError: Expected parts that belong to no other layer. Received: ...
    """
    taken = {name: part for name, part in parts.items() if part is not None}
    for name, part in taken.items():
        others = [other for other, value in taken.items() if value is part and other != name]
        holder = owner if others else _owner(part, owner)
        if holder is not None:
            place = f" as {others[0]}" if others else ""
            raise ValueError(
                "Expected parts that belong to no other layer. Received: "
                f"{name}={shown(part.name)} for the layer {shown(owner.name)}, which "
                f"{shown(holder.name)} has{place}. Give each layer parts of its own, or call one "
                "layer several times to share its weights."
            )
    for part in taken.values():
        _owners[part] = weakref.ref(owner)


def release_part(owner: keras.layers.Layer, part: keras.layers.Layer) -> None:
    """Make a part of a layer belong to nobody, for that layer to give it to another one."""
    if _owners.get(part, lambda: None)() is owner:
        del _owners[part]


def _owner(part: keras.layers.Layer, owner: keras.layers.Layer) -> keras.layers.Layer | None:
    """The layer that has the part, unless that is `owner` or is no longer in use."""

    def find() -> keras.layers.Layer | None:
        return _owners.get(part, lambda: None)()

    if find() not in (None, owner):
        gc.collect()  # layers refer to themselves, so that Python forgets them late
    return None if find() is owner else find()
