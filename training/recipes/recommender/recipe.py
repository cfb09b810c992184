"""The recipe of a multi-task recommender: several mixings with several seeds on one table."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.files import new_file, write_file
from moe_zoo.models import MultiTaskRecommender, RecommenderCore
from moe_zoo.stats import routing_stats
from moe_zoo.tensorboard import RoutedExamples
from moe_zoo.training.runs.checkpoints import load_best
from moe_zoo.training.runs.finished_run import MODEL
from moe_zoo.training.runs.recipe import Recipe
from moe_zoo.training.runs.run import BEST, Run
from moe_zoo.training.tables.recommender_data import RecommenderData
from moe_zoo.training.tables.rows import checksum
from moe_zoo.validation import check_int, check_names

from .encoded_rows import batches_of
from .model import adapt, make_recommender
from .report import as_csv, gate_table, result_table, task_metrics
from .row_texts import row_texts
from .settings import MIXINGS, RecommenderSettings

TABLE = "results.csv"
EXAMPLES = 16  # rows of the validation part whose gates are shown
SEED = "-seed-"


class RecommenderRecipe(Recipe):
    """Trains recommenders with several mixings and seeds, and compares them on the test part.

    A variant is a mixing with a seed, such as `mmoe-seed-0`.

    Args:
        settings: Settings of the recipe.
        data: Features, tasks and rows.
        mixings: Names of mixings, each once; the settings' one if not given.
        seeds: Number of seeds, which count from 0.

    Raises:
        ValueError: If the name of a mixing is unknown, or there is no seed.
    """

    def __init__(
        self,
        settings: RecommenderSettings,
        data: RecommenderData,
        mixings: Sequence[str] = (),
        seeds: int = 1,
    ):
        mixings = mixings or (settings.mixing,)
        check_names(mixings, MIXINGS, "mixings")
        check_int("seeds", seeds, least=1)
        self.settings = settings
        self.streams = sum(data.rows.values()) > settings.stream_rows
        self.data = data if self.streams else data.in_memory()
        self.variants = [f"{mixing}{SEED}{seed}" for mixing in mixings for seed in range(seeds)]
        self.monitor = self._monitor()

    def _monitor(self) -> str:
        """Name the metric of the best epoch; with learned weights, losses are not comparable."""
        if not self.settings.uncertainty_weights:
            return "val_loss"
        name, task = next(iter(self.data.tasks.items()))
        return f"val_{name}_{'rmse' if task['kind'] == 'regression' else 'log_loss'}"

    @property
    def steps(self) -> int:
        """Training steps of each variant."""
        return self.settings.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the training part."""
        return self.data.steps("train", self.settings.batch_size)

    # === Data ===

    def read(self) -> dict[str, Any]:
        """Read all rows for their checksum."""
        data, settings = self.data, dataclasses.asdict(self.settings)
        del settings["mixing"]  # any may join
        return {
            **settings,
            **{"data": data.description, "features": data.features, "tasks": data.tasks},
            "checksum": checksum(rows for _, rows in data.read(data.parts)),
        }

    def prepare(self, run: Run) -> None:
        """Find vocabularies and scales in the training part."""
        data = self.data
        run.show(data.description)
        run.show(
            ", ".join(f"{rows:,} {part}" for part, rows in data.rows.items())
            + f" rows; {len(data.features)} features; tasks {', '.join(data.tasks)}"
        )
        run.show("Reading vocabularies and scales from the training part ...")
        self.encoder, self.tasks = adapt(data, self.settings)
        self._encoded: dict[str, tuple] = {}
        judged = list(data.tasks)[: 1 if self.settings.uncertainty_weights else None]
        labels = (rows.labels[name] for rows in data.stream("validation") for name in judged)
        if not any(np.isfinite(x).any() for x in labels):
            raise ValueError(
                f"Expected labels of {' or '.join(judged)} in the validation part, by which epochs "
                "are compared. Received: none. Enlarge that part, or name another task first."
            )

    def training_batches(self, variant: str, step: int) -> tf.data.Dataset:
        """Make batches of the training part, in another order for each seed and epoch."""
        return self._dataset("train", seed_of(variant), step // self.steps_per_epoch)

    def batches(self, part: str) -> tf.data.Dataset:
        """Make batches of a part."""
        return self._dataset(part)

    def _dataset(self, part: str, seed: int | None = None, epoch: int = 0) -> tf.data.Dataset:
        """Make encoded batches of a part, endless and shuffled in each epoch if there is a seed."""
        size = self.settings.batch_size
        if self.streams:
            raw = self.data.dataset(part, size, seed, epoch, endless=seed is not None)
            return raw.map(lambda x, y: (self.encoder(x), y), num_parallel_calls=tf.data.AUTOTUNE)
        if part not in self._encoded:
            rows = self.data.whole(part)
            self._encoded[part] = (self.encoder.encode_all(rows.features), rows.labels)
        return batches_of(self._encoded[part], size, seed, epoch)

    # === Models ===

    def make_model(self, variant: str, on_mesh: bool) -> RecommenderCore:
        """Make the part of a recommender that has weights: it trains on encoded rows."""
        return self._make_recommender(variant).core

    def _make_recommender(self, variant: str) -> MultiTaskRecommender:
        mixing, seed = mixing_of(variant), seed_of(variant)
        return make_recommender(mixing, self.settings, self.encoder, self.tasks, seed)

    def title(self, variant: str, model: keras.Model) -> str:
        """Name mixing and seed."""
        return title_of(variant)

    def examples(self, model: keras.Model) -> RoutedExamples:
        """Return the first rows of the validation part, each with a few of its columns as text."""
        features, _ = next(iter(self.data.dataset("validation", EXAMPLES)))
        return RoutedExamples(self.encoder(features), row_texts(features))

    # === Results ===

    def evaluate(
        self, model: RecommenderCore, history: list[dict[str, float]], run: Run
    ) -> dict[str, Any]:
        """Compute the metrics of each task on the test part, and the mean gates."""
        labels: dict[str, list] = {name: [] for name in self.data.tasks}
        outputs: dict[str, list] = {name: [] for name in self.data.tasks}
        for x, y in self.batches("test"):
            predicted = model(x, training=False)
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
            "gates": {
                name: (stats.importance / max(stats.tokens, 1)).tolist()
                for name, stats in routing_stats(model, training=False).items()
            },
        }

    def save(self, model: RecommenderCore, run: Run) -> None:
        """Save and export the model that takes raw rows, with its trained core."""
        first = self.variants[0]
        recommender = self._make_recommender(first)
        load_best(recommender.core, run.folder / first / BEST)
        with new_file(run.folder / MODEL) as file:
            recommender.save(file)
        recommender.export(run.saved_model)

    def show(self, rows: Sequence[dict[str, Any]], run: Run) -> None:
        """Show the tables, and write one as CSV."""
        results: dict[str, list] = {}
        for variant, row in zip(self.variants, rows, strict=True):
            results.setdefault(mixing_of(variant), []).append(row)
        write_file(run.folder / TABLE, as_csv(results, self.data.tasks))
        run.show("\n" + result_table(results, self.data.tasks))
        if table := gate_table(rows[0]["gates"]):
            title = title_of(self.variants[0])
            run.show(f"\nMean gate of each expert, {title}, test part\n{table}")
        run.show(f"\nModel: {run.folder / MODEL}; SavedModel: {run.saved_model}")
        run.show(f"Table: {run.folder / TABLE}")


def mixing_of(variant: str) -> str:
    """Return the mixing of a variant: `mmoe` of `mmoe-seed-3`."""
    return variant.partition(SEED)[0]


def seed_of(variant: str) -> int:
    """Return the seed of a variant: 3 of `mmoe-seed-3`."""
    return int(variant.partition(SEED)[2])


def title_of(variant: str) -> str:
    """Format the name of a variant: `mmoe, seed 3` for `mmoe-seed-3`."""
    return f"{mixing_of(variant)}, seed {seed_of(variant)}"
