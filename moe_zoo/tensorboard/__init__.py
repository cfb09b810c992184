"""What routing did, in TensorBoard."""

from moe_zoo.validation import shown

__all__ = ["RoutedExamples", "RoutingBounds", "RoutingCallback"]


def __getattr__(name):
    """Imported when asked for: TensorBoard loads the plugin of this package without TensorFlow."""
    if name == "RoutingCallback":
        from .callback import RoutingCallback

        return RoutingCallback
    if name == "RoutingBounds":
        from moe_zoo.analysis.verdict import RoutingBounds

        return RoutingBounds
    if name == "RoutedExamples":
        from .examples import RoutedExamples

        return RoutedExamples
    raise AttributeError(f"module 'moe_zoo.tensorboard' has no attribute {shown(name)}")
