"""One run of a recipe for texts: models with several routers on one text, in one folder."""

import dataclasses

from moe_zoo.processes import is_writer
from moe_zoo.stats import routing_stats
from moe_zoo.terminal import show_text
from moe_zoo.training.runs.evaluation import routing_summary
from moe_zoo.training.runs.finished_run import learn_or_load, save_for_later
from moe_zoo.training.runs.routed_text import text_examples
from moe_zoo.training.runs.run_folder import RunFolder
from moe_zoo.training.runs.trainer import Trainer
from moe_zoo.training.text.batch_plan import BatchPlan

from .transformer_parts import check_routers, set_capacities

PARTS = ("train", "validation", "test")
EXAMPLES = 4  # texts of the validation part whose routing is shown
RESULT, RESULTS = "result.json", "results.json"


class TextRun:
    """Trains models in a folder, each going on where a killed run stopped.

    A subclass says what the text is (`read_text`, `texts_to_learn_from`, `examples`), how it
    becomes numbers and batches (`encode`, `batches`), what a model is (`make_model`) and is worth
    (`evaluate`), and what to show at the end (`show_results`).

    Args:
        settings: a kind of `TransformerSettings`.
        routers: names out of `MIXTURES`, each once; the first one's model is exported.
        output: folder of the run. Runs that differ in the routers alone share it.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Raises:
        ImportError: a package that the recipe needs is missing.
        ValueError: settings or text that do not fit, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    # Settings that do not decide a model's result: the text counts, not its place.
    elsewhere: tuple[str, ...] = ("data", "router")

    def __init__(
        self, settings, routers, output, logs=None, show=show_text, progress=True, plan=None
    ):
        self.settings = settings
        check_routers(settings, routers)
        self.text = self.read_text()
        description = {**dataclasses.asdict(settings), "text": self.text.fingerprint}
        for name in self.elsewhere:
            del description[name]
        self.folder = RunFolder(output, description, writes=is_writer())
        self.trainer = Trainer(self.folder, settings, description, logs, show, progress, plan)
        self.writes, self.show = self.trainer.writes, self.trainer.show
        self.tokenizer = learn_or_load(self.folder, self.texts_to_learn_from, settings, self.show)
        self.encoded, self.plans = {}, {}
        for part in PARTS:
            self.encoded[part] = encoded = self.encode(part)
            seed = settings.seed if part == "train" else None
            self.plans[part] = batches = BatchPlan(
                encoded.lengths, settings.batch_tokens, settings.num_buckets, seed
            )
            self.show(self.describe(part))
            if part == "train":
                self.show(
                    f"  {batches.batches_per_epoch:,} batches an epoch in "
                    f"{len(batches.buckets)} shapes, {batches.padding_share:.0%} padding"
                )

    def train(self, router):
        """Train the model of a router to the end, and evaluate it on the test part.

        Returns:
            `(model, dict)`, the trained model and its row of the result table.
        """
        settings, on_mesh = self.settings, self.trainer.plan is not None
        model, history = self.trainer.train(
            router,
            lambda: self.make_model(router),
            lambda step: self.batches("train", step, endless=True),
            self.batches("validation"),
            lambda model: set_capacities(model, settings, for_mesh=on_mesh),
            self._route_examples,
        )
        model = set_capacities(model, settings)
        path = f"{router}/{RESULT}"
        row = self.folder.read_json(path)
        if self.writes and (row is None or row["history"] != history):  # it may be of another run
            routing_stats(model, training=False, reset=True)  # those of the validation part go
            row = {
                "model": model.name,
                "parameters": model.count_params(),
                **self.evaluate(model, history),
                **routing_summary(model, history),
                "seconds": sum(epoch["seconds"] for epoch in history),
                "history": history,
            }
            self.folder.write_json(path, row)
        return model, row

    def _route_examples(self, model):
        texts, translations = self.examples()
        longest = self.settings.max_length
        return text_examples(model, self.tokenizer, texts, translations, longest)

    def finish(self, model, rows):
        """Save and export the first router's model, show the results.

        Args:
            model: the model of the first router.
            rows: `list` of the rows of all.
        """
        self.folder.claim()
        if self.writes:
            save_for_later(model, self.tokenizer, self.folder.path)
            self.folder.write_json(RESULTS, {"models": rows})
            self.show_results(rows)
            self.show(f"\nCurves and routing: tensorboard --logdir {self.trainer.logs}")
        self.folder.release()

    # === What a recipe fills in ===

    def read_text(self):
        """The text: `train`, `validation`, `test`, `fingerprint`."""
        raise NotImplementedError

    def texts_to_learn_from(self):
        """Texts for the vocabulary, of the training part alone."""
        raise NotImplementedError

    def encode(self, part):
        """A part as numbers; its `lengths` are for `BatchPlan`."""
        raise NotImplementedError

    def describe(self, part):
        """A line on an encoded part, for the user."""
        raise NotImplementedError

    def batches(self, part, start_step=0, endless=False):
        """Dataset of a part, by its plan."""
        raise NotImplementedError

    def examples(self):
        """A few texts of the validation part, and their translations or `None`."""
        raise NotImplementedError

    def make_model(self, router):
        """The compiled model of a router."""
        raise NotImplementedError

    def evaluate(self, model, history):
        """What a trained model is worth on the test part: `dict` of JSON values."""
        raise NotImplementedError

    def show_results(self, rows):
        """Show the rows of all models, and what the first one says, served."""
        raise NotImplementedError
