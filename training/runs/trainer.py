"""The training of models in the folder of a run, which goes on where a killed run stopped."""

import contextlib
from pathlib import Path

import keras

from moe_zoo.files import check_place
from moe_zoo.processes import process_count
from moe_zoo.stats import routing_metrics
from moe_zoo.tensorboard import RoutingCallback
from moe_zoo.terminal import show_text

from .checkpoints import Checkpoints
from .progress import FailOnNaN, Progress


class Trainer:
    """Trains the models of one run, each in a folder of its own.

    Args:
        folder: `RunFolder`.
        settings: has `steps` and `steps_per_epoch`.
        description: `dict` of JSON values that decide the run's result, as in `RunFolder`.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Attributes:
        writes: `bool`, whether this is the one of several processes that writes.
        logs: `Path`.
    """

    def __init__(
        self, folder, settings, description, logs=None, show=show_text, progress=True, plan=None
    ):
        self.writes = folder.writes
        self.show = show if self.writes else lambda text: None
        self.progress = progress and self.writes
        self.folder, self.settings, self.description = folder, settings, description
        self.logs = Path(logs) if logs else folder / "logs"
        check_place(self.logs, folder=True)
        self.plan = plan

    def train(self, name, make, batches, validation, prepare=lambda model: model, examples=None):
        """Train a model to its last step, or take one that is there.

        Args:
            name: of its folder.
            make: function that gives the compiled model.
            batches: function from the first step to an endless dataset.
            validation: dataset of batches.
            prepare: function of the model, new or restored, before it trains.
            examples: function from the model to the `RoutedExamples` to look at, or `None`.

        Returns:
            `(model, list)`, with the logs of all epochs.
        """
        settings = self.settings
        self.folder.claim()
        checkpoints = Checkpoints(
            self.folder / name, settings.steps_per_epoch, self.description, self.writes
        )
        model, step = checkpoints.restore()
        model = prepare(make() if model is None else model)
        place = f", going on at step {step:,}" if 0 < step < settings.steps else ""
        self.show(f"\n{model.name}: {model.count_params():,} parameters{place}")
        if step < settings.steps:
            with self._on_mesh(model):
                self._fit(model, step, checkpoints, batches(step), validation, examples)
        return model, checkpoints.history

    @contextlib.contextmanager
    def _on_mesh(self, model):
        if self.plan is None:
            yield
            return
        self.plan.distribute(model)
        self.show(self.plan.describe(model, whole=False))
        yield
        self.plan.gather(model)

    def _fit(self, model, step, checkpoints, batches, validation, examples):
        settings = self.settings
        logs = str(self.logs / checkpoints.folder.name)
        progress = Progress(self.progress)
        callbacks = [progress]
        if self.writes:
            board = keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0)
            callbacks = [*self._routing(model, logs, examples), progress, board]
        callbacks += [FailOnNaN(), checkpoints]
        model.fit(
            batches,
            steps_per_epoch=settings.steps_per_epoch,
            initial_epoch=step // settings.steps_per_epoch,
            epochs=settings.steps // settings.steps_per_epoch,
            validation_data=validation,
            callbacks=callbacks,
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )

    def _routing(self, model, logs, examples):
        if not routing_metrics(model):
            return []
        if examples is None or process_count() > 1:
            return [RoutingCallback(logs)]
        return [RoutingCallback(logs, examples=examples(model))]
