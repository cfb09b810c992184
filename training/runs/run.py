"""A training run: one recipe in one folder, which resumes where a killed run stopped."""

import contextlib
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from moe_zoo.distribution import ExpertParallel
from moe_zoo.files import check_place
from moe_zoo.processes import is_writer, process_count
from moe_zoo.stats import routing_metrics, routing_stats
from moe_zoo.tensorboard import RoutingCallback
from moe_zoo.terminal import show_text

from .checkpoints import BestModel, Checkpoints, load_best
from .finished_run import SAVED_MODEL
from .progress import FailOnNaN, Progress
from .recipe import Recipe
from .run_folder import RunFolder

RESULT, RESULTS, BEST = "result.json", "results.json", "best.keras"
Row = dict[str, Any]


class Run:
    """Trains all variants of a recipe in a folder, evaluates them, exports the first one.

    The folder belongs to this run: the same recipe finds it again, another one is refused. Every
    variant has a folder of its own within it, with its newest checkpoint and its results. A run
    that was killed resumes at the last checkpoint with the same result, to the last bit, as if it
    had not been interrupted.

    Args:
        recipe: What to train.
        output: Folder of the run. Runs that differ only in their variants share it.
        logs: Folder for TensorBoard; `None` for `logs` in the run's folder.
        show: Function that takes a line of text for the user.
        progress: Whether to show progress bars.
        mesh: Devices to train on; `None` for one device. A run may resume on another mesh.

    Attributes:
        recipe: The recipe.
        folder: The `RunFolder`.
        writes: Whether this is the one of several processes that writes.
        show: The function that shows text; it does nothing in processes that do not write.
        progress: Whether this process shows progress bars.
        logs: Folder for TensorBoard.
        saved_model: Folder of the exported model.

    Raises:
        ImportError: If a package that the recipe needs is missing.
        ValueError: If the data do not fit the settings, or the folder holds another run.
        OSError: If a path does not exist or cannot be written.

    Example:

    ```python
    from moe_zoo.training import LSTMRecipe, LSTMSettings, Run

    recipe = LSTMRecipe(LSTMSettings(steps=500, router="switch"))
    rows = Run(recipe, "runs/lstm_lm").train_all()
    ```
    """

    def __init__(
        self,
        recipe: Recipe,
        output: str | os.PathLike,
        logs: str | os.PathLike | None = None,
        show: Callable[[str], object] = show_text,
        progress: bool = True,
        mesh: ExpertParallel | None = None,
    ):
        self.recipe, self.mesh = recipe, mesh
        self.writes = is_writer()
        self.show = show if self.writes else _show_nothing
        self.progress = progress and self.writes
        self.description = recipe.read()
        self.folder = RunFolder(output, self.description, writes=self.writes)
        self.logs = Path(logs) if logs else self.folder / "logs"
        self.saved_model = self.folder / SAVED_MODEL
        check_place(self.logs, folder=True)
        recipe.prepare(self)

    def train_all(self) -> list[Row]:
        """Train and evaluate all variants, export the first one, show the results.

        Returns:
            The rows of the result table; in a process that does not write they may be empty.
        """
        first, *others = self.recipe.variants
        model, row = self.train(first)
        rows = [row, *(self.train(variant)[1] for variant in others)]
        self.finish(model, rows)
        return rows

    def train(self, variant: str) -> tuple[keras.Model, Row]:
        """Train a variant to its last step, and evaluate it; neither is done twice.

        Args:
            variant: Name of the variant.

        Returns:
            The trained model, on one device, and its row of the result table.
        """
        self.folder.claim()
        recipe, on_mesh = self.recipe, self.mesh is not None
        checkpoints = Checkpoints(
            self.folder / variant, recipe.steps_per_epoch, self.description, self.writes
        )
        model, step = checkpoints.restore()
        if model is None:
            model = recipe.make_model(variant, on_mesh)
        model = recipe.adapt(model, on_mesh)
        resuming = f", resuming at step {step:,}" if 0 < step < recipe.steps else ""
        title = recipe.title(variant, model)
        self.show(f"\n{title}: {model.count_params():,} parameters{resuming}")
        if step < recipe.steps:
            with self._on_mesh(model):
                self._fit(model, variant, step, checkpoints)
        if recipe.monitor is not None:
            load_best(model, checkpoints.folder / BEST)
        model = recipe.adapt(model, on_mesh=False)
        return model, self._row(model, variant, checkpoints.history)

    def finish(self, model: keras.Model, rows: Sequence[Row]) -> None:
        """Save and export a model, write and show the results.

        Args:
            model: Trained model of the first variant.
            rows: Rows of all variants.
        """
        self.folder.claim()
        if self.writes:
            self.recipe.save(model, self)
            results = {
                "python": platform.python_version(),
                "machine": platform.processor() or platform.machine(),
                "models": list(rows),
            }
            self.folder.write_json(RESULTS, results)
            self.recipe.show(rows, self)
            self.show(f"\nCurves and routing: tensorboard --logdir {self.logs}")
        self.folder.release()

    @contextlib.contextmanager
    def _on_mesh(self, model: keras.Model) -> Iterator[None]:
        if self.mesh is None:
            yield
            return
        with self.mesh.distributed(model):
            self.show(self.mesh.describe(model, whole=False))
            yield

    def _fit(self, model: keras.Model, variant: str, step: int, checkpoints: Checkpoints) -> None:
        recipe = self.recipe
        model.fit(
            recipe.training_batches(variant, step),
            steps_per_epoch=recipe.steps_per_epoch,
            initial_epoch=step // recipe.steps_per_epoch,
            epochs=recipe.steps // recipe.steps_per_epoch,
            validation_data=recipe.batches("validation"),
            callbacks=self._callbacks(model, checkpoints),
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )

    def _callbacks(
        self, model: keras.Model, checkpoints: Checkpoints
    ) -> list[keras.callbacks.Callback]:
        callbacks, monitor = [Progress(self.progress)], self.recipe.monitor
        if self.writes:
            logs = str(self.logs / checkpoints.folder.name)
            if routing_metrics(model):
                examples = self.recipe.examples(model) if process_count() == 1 else None
                callbacks.insert(0, RoutingCallback(logs, examples=examples))
            callbacks.append(keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0))
        if monitor is not None:
            least = min((logs[monitor] for logs in checkpoints.history), default=math.inf)
            best = checkpoints.folder / BEST
            callbacks.append(BestModel(best, monitor, least, self.writes))
        return [*callbacks, FailOnNaN(), checkpoints]

    def _row(self, model: keras.Model, variant: str, history: list[dict[str, float]]) -> Row:
        """Return the row of a trained model from its folder, unless it is of another training."""
        name = f"{variant}/{RESULT}"
        row = self.folder.read_json(name)
        if self.writes and (row is None or row["history"] != history):
            routing_stats(model, training=False, reset=True)  # those of the validation part
            row = {
                "model": model.name,
                "parameters": model.count_params(),
                **self.recipe.evaluate(model, history, self),
                "seconds": sum(epoch["seconds"] for epoch in history),
                "history": history,
            }
            self.folder.write_json(name, row)
        return row or {}


def _show_nothing(text: str) -> None:
    """Show no text: another process does."""
