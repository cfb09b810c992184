"""One run of a language model's recipe: data, training, evaluation, export, all in one folder."""

import dataclasses
import platform

import numpy as np

from moe_zoo.processes import is_writer
from moe_zoo.terminal import format_table, show_text
from moe_zoo.training.runs.evaluation import dropless_note, evaluate_tokens
from moe_zoo.training.runs.finished_run import SAVED_MODEL, learn_or_load, save_for_later
from moe_zoo.training.runs.routed_text import text_examples
from moe_zoo.training.runs.run_folder import RunFolder
from moe_zoo.training.runs.serving import generate_in_fresh_process
from moe_zoo.training.runs.trainer import Trainer
from moe_zoo.training.text.corpus import read_corpus
from moe_zoo.training.text.text_dataset import (
    encode_documents,
    evaluation_batches,
    language_model_batches,
)

RESULTS = "results.json"
EXAMPLES = 4  # documents whose beginnings' routing is shown
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "perplexity": "test perplexity",
    "bits_per_character": "bits/char",
    "load_cv": "load CV",
    "training_dropped_fraction": "dropped in training",
    "dead_experts": "dead experts",
    "tokens_per_second": "tokens/s",
}


class LanguageModelRun:
    """Trains a model in a folder, and goes on where a killed run stopped.

    Args:
        recipe: `LanguageModelRecipe` of the family of models.
        settings: the recipe's, such as `LSTMSettings`.
        output: folder of the run.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Raises:
        ValueError: settings that do not fit, text that is too short, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    def __init__(
        self, recipe, settings, output, logs=None, show=show_text, progress=True, plan=None
    ):
        self.recipe, self.settings = recipe, settings
        recipe.check_settings(settings)
        corpus = read_corpus(settings.data)
        self.description = {**dataclasses.asdict(settings), "corpus": corpus.fingerprint}
        self.folder = RunFolder(output, self.description, writes=is_writer())
        self.trainer = Trainer(self.folder, settings, self.description, logs, show, progress, plan)
        self.writes, self.show = self.trainer.writes, self.trainer.show
        if corpus.skipped:
            self.show(
                f"Left out {len(corpus.skipped)} files that are no text, as {corpus.skipped[0]}."
            )
        self.tokenizer = learn_or_load(
            self.folder, lambda: (text for _, text in corpus.train), settings, self.show
        )
        self.tokens = {
            part: encode_documents(self.tokenizer, getattr(corpus, part))
            for part in ("train", "validation", "test")
        }
        self.examples = [document.text for document in corpus.validation[:EXAMPLES]]
        self.test_characters = sum(len(document.text) for document in corpus.test)
        sizes = ", ".join(f"{len(tokens):,} {part}" for part, tokens in self.tokens.items())
        self.show(f"Text: {sizes} tokens of {self.tokenizer.vocabulary_size:,} pieces.")

    def train(self, dense=False):
        """Train the mixture, or its dense twin, to the end, and evaluate it on the test part.

        Returns:
            `(model, dict)`, the trained model and its row of the result table.
        """
        settings = self.settings
        make = self.recipe.make_dense_twin if dense else self.recipe.make_model
        sizes = (settings.batch_size, settings.sequence_length)
        model, history = self.trainer.train(
            "dense" if dense else "mixture",
            lambda: make(settings, self.tokenizer.vocabulary_size, self.trainer.plan is not None),
            lambda step: language_model_batches(
                self.tokens["train"], *sizes, settings.seed, start_step=step
            ),
            evaluation_batches(self.tokens["validation"], *sizes),
            examples=lambda model: text_examples(
                model, self.tokenizer, self.examples, longest=settings.sequence_length
            ),
        )
        model = self.recipe.for_one_device(model, settings)
        return model, self._evaluate(model, history)

    def _evaluate(self, model, history):
        settings = self.settings
        row = evaluate_tokens(
            model,
            self.tokens["test"],
            self.test_characters,
            settings.batch_size,
            settings.sequence_length,
            history,
        )
        seconds = np.median([epoch["seconds"] for epoch in history])
        tokens = settings.steps_per_epoch * settings.batch_size * settings.sequence_length
        return {
            "model": model.name,
            "parameters": model.count_params(),
            **row,
            "tokens_per_second": float(tokens / seconds),
            "history": history,
        }

    def finish(self, model, rows, prompts):
        """Save, export, show the table, and let a fresh process generate text."""
        if not self.writes:
            return
        self.folder.claim()
        save_for_later(model, self.tokenizer, self.folder.path)
        results = {
            "python": platform.python_version(),
            "machine": platform.processor() or platform.machine(),
            "models": rows,
        }
        self.folder.write_json(RESULTS, results)
        self.show("\n" + format_table(rows, COLUMNS) + dropless_note(rows))
        if len(rows) == 2:
            mixture, dense = (row["perplexity"] for row in rows)
            change = 100 * (1 - mixture / dense)
            word = "below" if change > 0 else "above"
            self.show(
                f"\nAt {self.settings.steps:,} equal steps the mixture's test perplexity is "
                f"{abs(change):.1f} % {word} that of its dense twin, which computes as many "
                "products per token."
            )
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}")
        self.show("Reloaded without moe_zoo in a fresh process, it writes:\n")
        for text in generate_in_fresh_process(served, prompts, seed=self.settings.seed):
            self.show("\n".join("    " + line for line in text.splitlines()) + "\n")
        self.show(f"Curves and routing: tensorboard --logdir {self.trainer.logs}")
        self.folder.release()
