"""What TensorBoard's entry point loads: the plugin, and how many steps are kept for it."""

import argparse
from typing import TYPE_CHECKING

from tensorboard.plugins import base_plugin

from .names import PLUGIN_NAME

if TYPE_CHECKING:
    from .plugin import RoutingPlugin

KEPT_STEPS = 10_000


class RoutingLoader(base_plugin.TBLoader):
    """Loads `RoutingPlugin` and raises the number of steps that TensorBoard keeps of its tags.

    By default TensorBoard keeps a random 100 steps of each tag of an unknown plugin (10 with
    `--load_fast=false`), different ones for each tag. `--moe_routing_samples` sets how many; a
    user's own `--samples_per_plugin moe_routing=N` takes precedence.
    """

    def define_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add `--moe_routing_samples`."""
        parser.add_argument_group("MoE routing plugin").add_argument(
            "--moe_routing_samples",
            type=int,
            default=KEPT_STEPS,
            metavar="N",
            help="Steps to keep of each layer's routing statistics (default: %(default)s). "
            "0 keeps all.",
        )

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Pass the number to the readers of event files.

        Raises:
            FlagsError: If the number is negative.
        """
        steps = flags.moe_routing_samples
        if steps < 0:
            raise base_plugin.FlagsError(
                "Expected a number of steps, or 0 for all of them. "
                f"Received: --moe_routing_samples={steps}. Leave it out to keep {KEPT_STEPS}."
            )
        flags.samples_per_plugin.setdefault(PLUGIN_NAME, steps)

    def load(self, context: base_plugin.TBContext) -> "RoutingPlugin":
        """Return the plugin, whose module is imported when TensorBoard starts to serve."""
        from .plugin import RoutingPlugin

        return RoutingPlugin(context)
