"""What routing did, in TensorBoard. TensorBoard loads the plugin without TensorFlow."""

from typing import TYPE_CHECKING

from moe_zoo._lazy import lazy_names

if TYPE_CHECKING:
    from moe_zoo.analysis.verdict import RoutingBounds

    from .callback import RoutingCallback
    from .examples import RoutedExamples

__all__ = ["RoutedExamples", "RoutingBounds", "RoutingCallback"]

if not TYPE_CHECKING:  # else a checker would take any name for one of these
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            ".analysis.verdict": ["RoutingBounds"],
            "callback": ["RoutingCallback"],
            "examples": ["RoutedExamples"],
        },
    )
