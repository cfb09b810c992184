"""Loading Keras files, whichever classes of this library they hold."""

import importlib
import os
from typing import Any

import keras

# Their public names lead to every class that a Keras file may hold.
PACKAGES = (
    "moe_zoo.routers",
    "moe_zoo.experts",
    "moe_zoo.gates",
    "moe_zoo.layers",
    "moe_zoo.models",
    "moe_zoo.models.recommender.features",
    "moe_zoo.models.recommender.tasks",
    "moe_zoo.models.transformer",
    "moe_zoo.training.optim",
)


def load_model(
    filepath: str | os.PathLike,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> keras.Model:
    """Load a `.keras` file that holds layers, models or optimizers of this library.

    `keras.saving.load_model` finds a class only after its module is imported. This function imports
    every class of the library first, and then calls it.

    Args:
        filepath: `str` or path, the file.
        custom_objects: `dict` of classes of your own by name, or `None`.
        compile: `bool`, compile the model as it was when it was saved.
        safe_mode: `bool`, refuse Python code in the file.

    Returns:
        The model, with its weights.

    Raises:
        ValueError: If the file does not exist or is no Keras file.

    Example:

    >>> import moe_zoo
    >>> model = keras.Sequential([keras.Input((4,)), moe_zoo.MoE(
    ...     moe_zoo.SwitchRouter(), moe_zoo.FeedForwardExperts(num_experts=2, hidden_dim=8))])
    >>> model.save("mixture.keras")
    >>> type(moe_zoo.load_model("mixture.keras").layers[0]).__name__
    'MoE'
    """
    import_classes()
    return keras.saving.load_model(filepath, custom_objects, compile, safe_mode)


def import_classes() -> None:
    """Import every class of the library that Keras saves by its name."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            getattr(module, name)
