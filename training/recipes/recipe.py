"""What a run needs to know of a family of models."""

from collections.abc import Callable
from typing import Any, NamedTuple


class LanguageModelRecipe(NamedTuple):
    """How the language models of one family are made from their settings.

    Fields:
        check_settings: `(settings, compare=False)`; raises `ValueError` for settings that no model,
            or no dense twin, can be made of.
        make_model: `(settings, vocabulary_size, for_mesh)` -> the compiled model.
        make_dense_twin: the same for the model without a mixture that computes as many products.
        for_one_device: `(model, settings)` -> a model, trained on a mesh or not, as it is
            evaluated and served.
    """

    check_settings: Callable[..., None]
    make_model: Callable[..., Any]
    make_dense_twin: Callable[..., Any]
    for_one_device: Callable[..., Any]
