"""One run of the recommender's recipe: mixings and seeds on the same data, in one folder."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.files import new_file, write_file
from moe_zoo.files.digests import check_archive
from moe_zoo.processes import is_writer, process_count
from moe_zoo.stats import routing_metrics, routing_stats
from moe_zoo.tensorboard import RoutedExamples, RoutingCallback
from moe_zoo.terminal import show_text
from moe_zoo.training.runs.checkpoints import BestModel, Checkpoints
from moe_zoo.training.runs.progress import FailOnNaN, Progress
from moe_zoo.training.runs.run_folder import RunFolder
from moe_zoo.training.tables.rows import checksum
from moe_zoo.validation import shown

from .encoded_rows import batches_of
from .recipe import adapt, make_recommender
from .report import as_csv, gate_table, result_table, task_metrics
from .row_texts import row_texts

MODEL, SAVED_MODEL, TABLE = "model.keras", "saved_model", "results.csv"
BEST = "best.keras"
EXAMPLES = 16  # rows of the validation part whose gates are shown


class RecommenderRun:
    """Trains a mixing with several seeds, beside others, and compares them on the test part.

    Every finished pair of mixing and seed is kept in the folder and not trained again; a run that
    was killed goes on after the last epoch that it finished.

    Args:
        settings: `RecommenderSettings`.
        data: `RecommenderData`.
        output: folder of the run.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`.

    Raises:
        ValueError: settings that do not fit, or a folder of another run.
        OSError: a path that cannot be written.
    """

    def __init__(self, settings, data, output, show=show_text, progress=True, plan=None):
        self.settings, self.plan = settings, plan
        self.writes = is_writer()
        self.show = show if self.writes else lambda text: None
        self.progress = progress and self.writes
        keras.config.set_dtype_policy(settings.precision)
        self.streams = sum(data.rows.values()) > settings.stream_rows
        self.data = data = data if self.streams else data.in_memory()
        decisive = dataclasses.asdict(settings)
        del decisive["mixing"]  # any may join
        self.description = {
            **decisive,
            **{"data": data.description, "features": data.features, "tasks": data.tasks},
            "checksum": checksum(rows for _, rows in data.read(data.parts)),
        }
        self.folder = RunFolder(
            output, self.description, marks=("*/step-*", "*/result.json"), writes=self.writes
        )
        self.show(data.description)
        self.show(
            ", ".join(f"{rows:,} {part}" for part, rows in data.rows.items())
            + f" rows; {len(data.features)} features; tasks {', '.join(data.tasks)}"
        )
        self.show("Reading vocabularies and scales off the training part ...")
        self.encoder, self.tasks = adapt(data, settings)
        self._encoded: dict = {}

    # === One mixing with one seed ===

    def train(self, mixing, seed):
        """Train to the end, or take what an earlier call found.

        Returns:
            `dict` of results: metrics by task, parameters, seconds, gates by task.
        """
        self.folder.claim()
        folder = f"{mixing}-seed-{seed}"
        path = self.folder / folder / "result.json"
        name = f"{folder}/result.json"
        if path.exists():
            return self.folder.read_json(name)
        model = make_recommender(mixing, self.settings, self.encoder, self.tasks, seed)
        checkpoints = Checkpoints(
            self.folder / folder, self._steps("train"), self.description, self.writes
        )
        core, step = checkpoints.restore()
        if core is not None:
            of_both = zip(_state(model.core), _state(core), strict=True)
            for variable, saved in of_both:
                variable.assign(saved)
        best = self.folder / folder / BEST
        self._fit(model.core, checkpoints, step, seed, best)
        load_best(model.core, best)
        result = self._evaluate(model, checkpoints.history)
        if self.writes:
            self.folder.write_json(name, result)
        return result

    def _steps(self, part):
        return self.data.steps(part, self.settings.batch_size)

    def _fit(self, core, checkpoints, step, seed, best):
        settings = self.settings
        epoch = step // self._steps("train")
        monitor = self._monitor()
        losses = [logs[monitor] for logs in checkpoints.history]
        callbacks = [
            Progress(self.progress),
            BestModel(best, monitor, min(losses, default=math.inf), self.writes),
            FailOnNaN(),
            checkpoints,
        ]
        if self.writes:
            logs = str(self.folder / "logs" / checkpoints.folder.name)
            if routing_metrics(core):
                examples = self._examples() if process_count() == 1 else None
                callbacks.insert(0, RoutingCallback(logs, examples=examples))
            callbacks.append(keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0))
        if self.plan is not None:
            self.plan.distribute(core)
        core.fit(
            self._dataset("train", seed, epoch),
            epochs=settings.epochs,
            initial_epoch=epoch,
            steps_per_epoch=self._steps("train"),
            validation_data=self._dataset("validation"),
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        if self.plan is not None:
            self.plan.gather(core)

    def _examples(self):
        """The first rows of the validation part, each with a few of its columns as text."""
        features, _ = next(iter(self.data.dataset("validation", EXAMPLES)))
        return RoutedExamples(self.encoder(features), row_texts(features))

    def _monitor(self):
        """What an epoch is judged by. Learned weights change the loss from epoch to epoch."""
        if not self.settings.uncertainty_weights:
            return "val_loss"
        name, task = next(iter(self.data.tasks.items()))
        return f"val_{name}_{'rmse' if task['kind'] == 'regression' else 'log_loss'}"

    def _dataset(self, part, seed=None, epoch=0):
        """Encoded batches of a part, endless and in a new order every epoch if there is a seed."""
        batch = self.settings.batch_size
        if self.streams:
            raw = self.data.dataset(part, batch, seed, epoch, endless=seed is not None)
            return raw.map(lambda x, y: (self.encoder(x), y), num_parallel_calls=tf.data.AUTOTUNE)
        if part not in self._encoded:
            rows = self.data.whole(part)
            self._encoded[part] = (self.encoder.encode_all(rows.features), rows.labels)
        return batches_of(self._encoded[part], batch, seed, epoch)

    def _evaluate(self, model, history):
        labels: dict[str, list] = {name: [] for name in self.data.tasks}
        outputs: dict[str, list] = {name: [] for name in self.data.tasks}
        routing_stats(model.core, training=False, reset=True)  # those of the validation part go
        for x, y in self._dataset("test"):
            predicted = model.core(x, training=False)
            for name in self.data.tasks:
                labels[name].append(y[name].numpy())
                outputs[name].append(predicted[name].numpy())
        return {
            "metrics": {
                name: task_metrics(
                    task["kind"], np.concatenate(labels[name]), np.concatenate(outputs[name])
                )
                for name, task in self.data.tasks.items()
            },
            "parameters": model.core.count_params(),
            "seconds": sum(epoch["seconds"] for epoch in history),
            "gates": {
                name: (stats.importance / max(stats.tokens, 1)).tolist()
                for name, stats in routing_stats(model.core, training=False).items()
            },
            "history": history,
        }

    # === All of them ===

    def compare(self, mixings, seeds):
        """Train all mixings with all seeds, show and write the table; the first one is saved.

        Args:
            mixings: names, each once.
            seeds: `int`, how many, from 0.

        Returns:
            `dict` of lists of results, by mixing.
        """
        results: dict[str, list] = {}
        for mixing in mixings:
            for seed in range(seeds):
                self.show(f"\n{mixing}, seed {seed}")
                results.setdefault(mixing, []).append(self.train(mixing, seed))
        if self.writes:
            write_file(self.folder / TABLE, as_csv(results, self.data.tasks))
        self.show("\n" + result_table(results, self.data.tasks))
        if table := gate_table(results[mixings[0]][0]["gates"]):
            self.show(f"\nMean gate of each expert, {mixings[0]}, seed 0, test part\n{table}")
        return results

    def finish(self, mixing):
        """Save and export the model of a mixing, seed 0."""
        if not self.writes:
            return
        model = make_recommender(mixing, self.settings, self.encoder, self.tasks, seed=0)
        load_best(model.core, self.folder / f"{mixing}-seed-0" / BEST)
        with new_file(self.folder / MODEL) as file:
            model.save(file)
        model.export(self.folder / SAVED_MODEL)
        self.show(f"\nModel: {self.folder / MODEL}; SavedModel: {self.folder / SAVED_MODEL}")
        self.show(f"Table: {self.folder / TABLE}")
        self.show(f"Curves and gates: tensorboard --logdir {self.folder / 'logs'}")
        self.folder.release()


def load_best(core, path):
    """Give a `RecommenderCore` the weights of its best epoch.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        check_archive(path)
        core.load_weights(path)
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise ValueError(
            f"Expected the model of the best epoch. Received: {shown(str(path))}, which cannot be "
            f"read: {error}. Restore it, or delete the folder around it and train that one anew by "
            "the same command."
        ) from error


def _state(model):
    """All variables that decide how a training goes on."""
    return [*model.variables, *model.optimizer.variables]
