"""One run of the classifier's recipe: models with several routers on one text, in one folder."""

import dataclasses

import numpy as np

from moe_zoo.stats import routing_stats
from moe_zoo.table import format_table
from moe_zoo.training.batch_plan import BatchPlan
from moe_zoo.training.evaluation import routing_summary
from moe_zoo.training.finished_run import LABELS, SAVED_MODEL, learn_or_load, save_for_later
from moe_zoo.training.run_folder import RunFolder
from moe_zoo.training.serving import serve_in_fresh_process
from moe_zoo.training.trainer import Trainer
from moe_zoo.training.transformer_parts import check_routers, set_capacities

from .dataset import classifier_batches, encode_examples
from .recipe import make_classifier
from .report import label_scores, label_table, summary
from .sources import read_source

RESULTS = "results.json"
SAMPLES, SHOWN_CHARACTERS = 4, 70
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "load_cv": "load CV",
    "dead_experts": "dead experts",
    "seconds": "seconds",
}


class ClassifierRun:
    """Trains classifiers in a folder, each going on where a killed run stopped.

    Args:
        settings: `ClassifierSettings`.
        routers: names out of `MIXTURES`, each once; the first one's model is exported.
        output: folder of the run. Runs that differ in the routers alone share it.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Raises:
        ValueError: settings that do not fit, text that is not labelled, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    def __init__(self, settings, routers, output, logs=None, show=print, progress=True, plan=None):
        self.settings = settings
        check_routers(settings, routers)
        self.text = text = read_source(settings)
        description = {**dataclasses.asdict(settings), "text": text.fingerprint}
        for name in ("data", "path", "router"):  # the text counts, not its place
            del description[name]
        self.folder = RunFolder(output, description)
        self.trainer = Trainer(self.folder, settings, description, logs, show, progress, plan)
        self.writes, self.show = self.trainer.writes, self.trainer.show
        self.tokenizer = learn_or_load(
            self.folder,
            lambda: ["\n".join(text for _, text in self.text.train)],
            settings,
            self.show,
        )
        self.examples, self.plans = {}, {}
        for part in ("train", "validation", "test"):
            encoded = encode_examples(
                self.tokenizer, getattr(text, part), text.labels, settings.max_length
            )
            seed = settings.seed if part == "train" else None
            self.examples[part] = encoded
            self.plans[part] = BatchPlan(
                encoded.lengths, settings.batch_tokens, settings.num_buckets, seed
            )
            cut = f", {encoded.shortened:,} of them cut" if encoded.shortened else ""
            self.show(
                f"{part}: {len(encoded.labels):,} texts of {len(text.labels)} labels, "
                f"{encoded.lengths.sum():,} tokens{cut}"
            )

    def _batches(self, part, start_step=0):
        endless = part == "train"
        return classifier_batches(self.examples[part], self.plans[part], start_step, endless)

    def train(self, router):
        """Train the model of a router to the end, and evaluate it on the test part.

        Returns:
            `(model, dict)`, the trained model and its row of the result table.
        """
        settings, on_mesh = self.settings, self.trainer.plan is not None
        sizes = self.tokenizer.vocabulary_size, len(self.text.labels)
        model, history = self.trainer.train(
            router,
            lambda: make_classifier(settings, *sizes, router),
            lambda step: self._batches("train", step),
            self._batches("validation"),
            lambda model: set_capacities(model, settings, for_mesh=on_mesh),
        )
        model = set_capacities(model, settings)
        return model, self._evaluate(model, history)

    def _evaluate(self, model, history):
        parts: tuple[list, list] = ([], [])
        routing_stats(model, training=False, reset=True)  # those of the validation part go
        for tokens, label, weight in self._batches("test"):
            real = weight.numpy() > 0
            parts[0].append(label.numpy()[real])
            parts[1].append(np.argmax(model(tokens, training=False), -1)[real])
        labels, predicted = map(np.concatenate, parts)
        names = self.text.labels
        return {
            "model": model.name,
            "parameters": model.count_params(),
            **summary(labels, predicted, names),
            **routing_summary(model),
            "seconds": sum(epoch["seconds"] for epoch in history),
            "labels": label_scores(labels, predicted, names),
            "history": history,
        }

    def finish(self, model, rows):
        """Save and export the first router's model, show the tables and some predictions.

        Args:
            model: the model of the first router.
            rows: `list` of the rows of all.
        """
        if not self.writes:
            return
        options = {"labels": self.text.labels, "max_tokens": self.settings.max_length}
        self.folder.write_json(LABELS, options)
        save_for_later(model, self.tokenizer, self.folder.path)
        self.folder.write_json(RESULTS, {"models": rows})
        self.show(f"\nEach label, {rows[0]['model']}, test part\n{label_table(rows[0]['labels'])}")
        self.show("\n" + format_table(rows, COLUMNS))
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}")
        self.show("Reloaded without moe_zoo in a fresh process, it says:\n")
        every = max(len(self.text.test) // SAMPLES, 1)
        samples = self.text.test[::every][:SAMPLES]
        given = serve_in_fresh_process(served, "serve_text", [x.text for x in samples])
        for example, label in zip(samples, given["label"], strict=True):
            words = " ".join(example.text.split())[:SHOWN_CHARACTERS]
            self.show(f"    {label} (it is {example.label}): {words}")
        self.show(f"\nCurves and routing: tensorboard --logdir {self.trainer.logs}")
