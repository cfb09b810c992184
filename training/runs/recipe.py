"""The protocol of a recipe: what a run needs to know of data, models and results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import keras
import tensorflow as tf

from moe_zoo.tensorboard import RoutedExamples

if TYPE_CHECKING:
    from .run import Run


class Recipe(Protocol):
    """How the models of one kind are made, trained, evaluated and shown.

    A recipe trains one or several variants: a mixture and its dense baseline, models with different
    routers, or mixings with several seeds. A variant is known by its name, which is also the name
    of its folder within the run's folder. Subclass this class: methods with a docstring that says
    "by default" may be left out.

    Attributes:
        variants: Names of all variants. The first one's model is saved and exported.
        steps: Training steps of each variant, a multiple of `steps_per_epoch`. Known after `read`.
        steps_per_epoch: Steps between validations and checkpoints.
        monitor: Name in the logs whose least value marks the best epoch. The weights of that epoch
            are evaluated; `None` evaluates those of the last epoch.
    """

    variants: Sequence[str]
    monitor: str | None = None

    @property
    def steps(self) -> int:
        """Training steps of each variant."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Steps between validations and checkpoints."""
        ...

    # === Data ===

    def read(self) -> dict[str, Any]:
        """Read the data.

        Returns:
            All JSON values that decide the run's result: settings, and digests of the data. A
            folder whose run has another description is refused.
        """
        ...

    def prepare(self, run: "Run") -> None:
        """Turn the data into numbers. By default nothing is done.

        Args:
            run: The run. Its folder may hold a vocabulary, its `show` tells the user what there is.
        """

    def training_batches(self, variant: str, step: int) -> tf.data.Dataset:
        """Make endless training batches.

        Args:
            variant: Name of the variant; variants may differ in their seed.
            step: Number of batches to skip, so that a run resumes where it was killed.
        """
        ...

    def batches(self, part: str) -> tf.data.Dataset:
        """Make all batches of a part, once.

        Args:
            part: `"validation"` or `"test"`.
        """
        ...

    # === Models ===

    def make_model(self, variant: str, on_mesh: bool) -> keras.Model:
        """Make and compile the model of a variant.

        Args:
            variant: Name of the variant.
            on_mesh: Whether it will be trained on a mesh.
        """
        ...

    def adapt(self, model: keras.Model, on_mesh: bool) -> keras.Model:
        """Adapt a model, new or restored, to where it runs next. By default it stays as it is.

        Args:
            model: Model on one device.
            on_mesh: Whether it runs on a mesh next. A trained model is evaluated on one device.
        """
        return model

    def title(self, variant: str, model: keras.Model) -> str:
        """Name a variant for the user. By default by the model's name."""
        return model.name

    def examples(self, model: keras.Model) -> RoutedExamples | None:
        """Return examples whose routing TensorBoard shows. By default none."""
        return None

    # === Results ===

    def evaluate(
        self, model: keras.Model, history: list[dict[str, float]], run: "Run"
    ) -> dict[str, Any]:
        """Evaluate a trained model on the test part.

        Args:
            model: Trained model. Its statistics of evaluation were reset.
            history: Logs of each epoch.
            run: The run, with its `show` and `progress`.

        Returns:
            JSON values for the row of the result table.
        """
        ...

    def save(self, model: keras.Model, run: "Run") -> None:
        """Save and export the model of the first variant into the run's folder."""
        ...

    def show(self, rows: Sequence[dict[str, Any]], run: "Run") -> None:
        """Show the results, and what the exported model answers in a fresh process.

        Args:
            rows: Rows of all variants.
            run: The run, with its folder and its `show`.
        """
        ...
