"""moe-zoo: mixture-of-experts layers, models and training recipes for Keras 3 on TensorFlow."""

import sys
from pathlib import Path

_here = Path(__file__).parent
if not (_here / "models").is_dir():  # source checkout: models/ and training/ stand beside us
    __path__.append(str(_here.parent))

from moe_zoo._backend import require_tensorflow_backend  # noqa: E402  (needs the path above)

__version__ = "0.1.0"

# TensorBoard loads the plugins of all packages, whatever Keras runs on there; ours needs no Keras.
if "tensorboard.default" not in sys.modules:
    require_tensorflow_backend()


def __getattr__(name):
    """`moe_zoo.routing_stats` and so on, imported when asked for: TensorFlow takes seconds."""
    if name == "routing_stats":
        from moe_zoo.stats import routing_stats

        return routing_stats
    if name == "recompute":
        from moe_zoo.recomputing import recompute

        return recompute
    raise AttributeError(f"module 'moe_zoo' has no attribute {name!r}")
