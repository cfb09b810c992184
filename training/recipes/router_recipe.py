"""The base of recipes that compare routers on examples of any length."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from moe_zoo.training.runs.run import Run
from moe_zoo.training.text.batch_sampler import BatchSampler
from moe_zoo.validation import check_names

from .routers import ROUTERS_OR_DENSE
from .text_recipe import PARTS, TextRecipe
from .transformer_parts import check_routers, set_capacities


class RouterRecipe(TextRecipe):
    """A recipe of models with different routers, or none, on batches of examples of any length.

    A subclass reads and encodes the text, and makes the models.

    Args:
        settings: Settings of the recipe, with `batch_tokens` and `num_buckets`.
        routers: Names of routers, or `"dense"`, each once; the settings' one if not given.

    Raises:
        ValueError: If a name is unknown, or no model can be made of the settings.
    """

    settings: Any  # `TransformerSettings` with sizes of batches
    # Settings that do not decide the result of a variant: the text counts, not where it is stored.
    places: tuple[str, ...] = ("data", "router")

    def __init__(self, settings: Any, routers: Sequence[str] = ()):
        self.settings = settings
        self.variants = tuple(routers) or (settings.router,)
        check_names(self.variants, ROUTERS_OR_DENSE, "routers")
        check_routers(settings, self.variants)

    def read(self) -> dict[str, Any]:
        """Read the text."""
        self.text = self.read_text()
        description = {**dataclasses.asdict(self.settings), "text": self.text.fingerprint}
        return {name: value for name, value in description.items() if name not in self.places}

    def read_text(self) -> Any:
        """Read the text, with its `train`, `validation`, `test` and `fingerprint`."""
        raise NotImplementedError

    def encode(self, part: str) -> Any:
        """Encode a part as numbers, with their `lengths`."""
        raise NotImplementedError

    def describe(self, part: str) -> str:
        """Describe an encoded part in a line, for the user."""
        raise NotImplementedError

    def prepare(self, run: Run) -> None:
        """Encode all parts, and put examples of similar length into batches."""
        super().prepare(run)
        settings = self.settings
        self.encoded: dict[str, Any] = {}
        self.samplers: dict[str, BatchSampler] = {}
        for part in PARTS:
            self.encoded[part] = encoded = self.encode(part)
            seed = settings.seed if part == "train" else None
            self.samplers[part] = sampler = BatchSampler(
                encoded.lengths, settings.batch_tokens, settings.num_buckets, seed
            )
            run.show(self.describe(part))
            if part == "train":
                run.show(
                    f"  {sampler.batches_per_epoch:,} batches an epoch in {len(sampler.buckets)} "
                    f"shapes, {sampler.padding_share:.0%} padding"
                )

    def adapt(self, model: keras.Model, on_mesh: bool) -> keras.Model:
        """Give routers the capacities of a mesh, or of one device."""
        return set_capacities(model, self.settings, on_mesh)
