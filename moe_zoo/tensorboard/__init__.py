"""What routing did, in TensorBoard."""

from moe_zoo.tensorboard.callback import RoutingCallback

__all__ = ["RoutingCallback"]
