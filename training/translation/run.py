"""One run of the translation recipe: models with several routers on one text, in one folder."""

import dataclasses

import keras
import numpy as np

from moe_zoo.stats import routing_stats
from moe_zoo.table import format_table
from moe_zoo.training.batch_plan import BatchPlan
from moe_zoo.training.evaluation import routing_summary
from moe_zoo.training.finished_run import SAVED_MODEL, learn_or_load, save_for_later
from moe_zoo.training.run_folder import RunFolder
from moe_zoo.training.serving import serve_in_fresh_process
from moe_zoo.training.trainer import Trainer
from moe_zoo.training.transformer_parts import check_routers, set_capacities

from .bleu import corpus_bleu, require_sacrebleu
from .dataset import encode_pairs, translation_batches
from .parallel_text import read_parallel_text
from .recipe import make_translation_model
from .translate import most_new_tokens, translate_texts

RESULT, RESULTS = "result.json", "results.json"
SAMPLES = 4
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "bleu": "test BLEU",
    "perplexity": "test perplexity",
    "load_cv": "load CV",
    "dead_experts": "dead experts",
    "tokens_per_second": "tokens/s",
    "seconds": "seconds",
}


class TranslationRun:
    """Trains translation models in a folder, each going on where a killed run stopped.

    Args:
        settings: `TranslationSettings`.
        routers: names out of `MIXTURES`, each once; the first one's model is exported.
        output: folder of the run. Runs that differ in the routers alone share it.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Raises:
        ImportError: sacrebleu is missing.
        ValueError: settings that do not fit, text that is not parallel, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    def __init__(self, settings, routers, output, logs=None, show=print, progress=True, plan=None):
        self.settings, self.routers = settings, routers
        require_sacrebleu()
        check_routers(settings, routers)
        self.text = read_parallel_text(
            settings.data, settings.source, settings.target, settings.test
        )
        description = {**dataclasses.asdict(settings), "text": self.text.fingerprint}
        for name in ("data", "router"):  # the text counts, not its place; any router may join
            del description[name]
        self.folder = RunFolder(output, description)
        self.trainer = Trainer(self.folder, settings, description, logs, show, progress, plan)
        self.writes, self.show = self.trainer.writes, self.trainer.show
        self.tokenizer = learn_or_load(self.folder, self._both_languages, settings, self.show)
        self.pairs, self.plans = {}, {}
        for part in ("train", "validation", "test"):
            self._encode(part)

    def _both_languages(self):
        for side in (0, 1):
            yield "\n".join(pair[side] for pair in self.text.train)

    def _encode(self, part):
        settings, pairs = self.settings, getattr(self.text, part)
        # What is reported counts every pair.
        longest = settings.max_length if part == "train" else 2**31
        self.pairs[part] = encoded = encode_pairs(self.tokenizer, pairs, longest)
        seed = settings.seed if part == "train" else None
        self.plans[part] = BatchPlan(
            encoded.lengths, settings.batch_tokens, settings.num_buckets, seed
        )
        left_out = f", {encoded.dropped:,} more are too long" if encoded.dropped else ""
        self.show(
            f"{self.text.source} to {self.text.target}, {part}: "
            f"{len(encoded.lengths):,} pairs, {encoded.lengths.sum():,} tokens{left_out}"
        )
        if part == "train":
            plan = self.plans[part]
            self.show(
                f"  {plan.batches_per_epoch:,} batches an epoch in {len(plan.buckets)} shapes, "
                f"{plan.padding_share:.0%} padding"
            )

    def _batches(self, part, start_step=0):
        endless = part == "train"
        return translation_batches(self.pairs[part], self.plans[part], start_step, endless)

    def train(self, router):
        """Train the model of a router to the end, and evaluate it on the test part.

        Returns:
            `(model, dict)`, the trained model and its row of the result table.
        """
        settings, on_mesh = self.settings, self.trainer.plan is not None
        model, history = self.trainer.train(
            router,
            lambda: make_translation_model(settings, self.tokenizer.vocabulary_size, router),
            lambda step: self._batches("train", step),
            self._batches("validation"),
            lambda model: set_capacities(model, settings, for_mesh=on_mesh),
        )
        model = set_capacities(model, settings)
        path = f"{router}/{RESULT}"
        row = self.folder.read_json(path)
        if row is None and self.writes:
            row = self._evaluate(model, history)
            self.folder.write_json(path, row)
        return model, row

    def _evaluate(self, model, history):
        settings, test = self.settings, self.text.test
        routing_stats(model, training=False, reset=True)  # those of the validation part go
        values = model.evaluate(self._batches("test"), verbose=0, return_dict=True)
        row = {"model": model.name, "parameters": model.count_params()}
        row |= {"perplexity": float(values["perplexity"]), **routing_summary(model)}
        self.show("Translating the test part ...")
        progress = keras.utils.Progbar(len(test), verbose=int(self.trainer.progress))
        translations = translate_texts(
            model,
            self.tokenizer,
            [pair.source for pair in test],
            settings.num_beams,
            settings.length_penalty,
            progress.update,
        )
        bleu = corpus_bleu(translations, [pair.target for pair in test])
        seconds = [epoch["seconds"] for epoch in history]
        plan = self.plans["train"]
        tokens = plan.lengths.sum() / plan.batches_per_epoch * settings.steps_per_epoch
        return row | {
            "bleu": bleu.score,
            "signature": bleu.signature,
            "tokens_per_second": float(tokens / np.median(seconds)),
            "seconds": sum(seconds),
            "history": history,
            "translations": translations,
        }

    def finish(self, model, rows):
        """Save and export the first router's model, show the table and some translations.

        Args:
            model: the model of the first router.
            rows: `list` of the rows of all.
        """
        if not self.writes:
            return
        save_for_later(model, self.tokenizer, self.folder.path)
        self.folder.write_json(RESULTS, {"models": rows})
        self.show("\n" + format_table(rows, COLUMNS))
        self.show(f"\nBLEU: {rows[0]['signature']}")
        pairs = self.text.test[:SAMPLES]
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}")
        self.show("Reloaded without moe_zoo in a fresh process, it translates:\n")
        longest = max(self.pairs["test"].source.lengths[:SAMPLES])
        texts = serve_in_fresh_process(
            served,
            "translate",
            [pair.source for pair in pairs],
            [
                most_new_tokens(int(longest)),
                self.settings.num_beams,
                float(self.settings.length_penalty),
            ],
        )
        for pair, text in zip(pairs, texts, strict=True):
            self.show(f"    {self.text.source:9} {pair.source}")
            self.show(f"    {self.text.target:9} {text.strip()}\n    reference {pair.target}\n")
        self.show(f"Curves and routing: tensorboard --logdir {self.trainer.logs}")
