"""What a causal stack cannot hold."""

import warnings

import keras


def check_causal(moe: keras.layers.Layer | None) -> None:
    """Refuse a mixture in which an earlier token depends on later ones, or warn of it."""
    router = getattr(moe, "router", None)
    if getattr(router, "looks_ahead", False):
        raise ValueError(
            "Expected a router that decides about a token without the later ones. Received: "
            f"{type(router).__name__}, which looks ahead, in a causal stack. Its model would see "
            "the tokens that it is to predict. Take a SwitchRouter or another one of token choice."
        )
    if getattr(router, "batch_priority", False):
        warnings.warn(
            "Expected slots in the order of arrival in a causal stack. Received: "
            "batch_priority=True, by which later tokens can take the slots of earlier ones, in "
            "training and not in generation. Set batch_priority=False.",
            stacklevel=3,
        )
