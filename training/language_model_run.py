"""One run of a language model's recipe: data, training, evaluation, export, all in one folder."""

import contextlib
import dataclasses
import platform
import tempfile
from pathlib import Path

import keras
import numpy as np

from moe_zoo.distribution import is_writer
from moe_zoo.export import export_saved_model
from moe_zoo.models import language_model_endpoints
from moe_zoo.stats import routing_metrics
from moe_zoo.table import format_table
from moe_zoo.tensorboard import RoutingCallback

from .checkpoints import Checkpoints
from .corpus import read_corpus
from .evaluation import evaluate_tokens
from .lstm_lm import check_settings, for_one_device, make_dense_twin, make_model
from .progress import Progress
from .run_folder import RunFolder
from .serving import generate_in_fresh_process
from .text_dataset import (
    encode_documents,
    evaluation_batches,
    language_model_batches,
)
from .tokenizer import Tokenizer, train_vocabulary

MODEL, VOCABULARY = "model.keras", "vocabulary.txt"
SAVED_MODEL, RESULTS = "saved_model", "results.json"
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "perplexity": "test perplexity",
    "bits_per_character": "bits/char",
    "load_cv": "load CV",
    "dropped_fraction": "dropped",
    "dead_experts": "dead experts",
    "tokens_per_second": "tokens/s",
}


class LanguageModelRun:
    """Trains a model in a folder, and goes on where a killed run stopped.

    Args:
        settings: `LSTMSettings`.
        output: folder of the run.
        logs: folder for TensorBoard, or `None` for `logs` in the run's folder.
        show: function that takes a line of text for the user.
        progress: `bool`, whether to show progress bars.
        plan: `ExpertParallel` to train on a mesh, or `None`. A run may go on on another mesh.

    Raises:
        ValueError: settings that do not fit, text that is too short, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    def __init__(self, settings, output, logs=None, show=print, progress=True, plan=None):
        self.settings, self.plan = settings, plan
        self.writes = is_writer()  # of several processes with one mesh
        self.show = show if self.writes else lambda text: None
        self.progress = progress and self.writes
        check_settings(settings)
        corpus = read_corpus(settings.data)
        self.description = {**dataclasses.asdict(settings), "corpus": corpus.fingerprint}
        self.folder = RunFolder(output, self.description)
        self.logs = Path(logs) if logs else self.folder / "logs"
        if corpus.skipped:
            self.show(
                f"Left out {len(corpus.skipped)} files that are no text, as {corpus.skipped[0]}."
            )
        self.tokenizer = self._tokenizer(corpus)
        self.tokens = {
            part: encode_documents(self.tokenizer, getattr(corpus, part))
            for part in ("train", "validation", "test")
        }
        self.test_characters = sum(len(document.text) for document in corpus.test)
        sizes = ", ".join(f"{len(tokens):,} {part}" for part, tokens in self.tokens.items())
        self.show(f"Text: {sizes} tokens of {self.tokenizer.vocabulary_size:,} pieces.")

    def _tokenizer(self, corpus):
        path = self.folder / VOCABULARY
        if not (self.folder.begun and path.exists()):
            self.show("Learning the vocabulary ...")
            pieces = train_vocabulary(
                (document.text for document in corpus.train), self.settings.vocabulary_size
            )
            Tokenizer(pieces).save(path)
        return Tokenizer.load(path)

    def train(self, dense=False):
        """Train the mixture, or its dense twin, to the end, and evaluate it on the test part.

        Returns:
            `(model, dict)`, the trained model and its row of the result table.
        """
        settings, make = self.settings, make_dense_twin if dense else make_model
        name = "dense" if dense else "mixture"
        checkpoints = Checkpoints(
            self.folder / name, settings.steps_per_epoch, self.description, self.writes
        )
        model, step = checkpoints.restore()
        if model is None:
            model = make(settings, self.tokenizer.vocabulary_size, self.plan is not None)
        place = f", going on at step {step:,}" if 0 < step < settings.steps else ""
        self.show(f"\n{model.name}: {model.count_params():,} parameters{place}")
        if step < settings.steps:
            with self._on_mesh(model):
                self._fit(model, step, checkpoints)
        if model.sequence_length is not None:
            model = for_one_device(model, settings)
        return model, self._evaluate(model, checkpoints.history)

    @contextlib.contextmanager
    def _on_mesh(self, model):
        if self.plan is None:
            yield
            return
        self.plan.distribute(model)
        self.show(self.plan.describe(model, whole=False))
        yield
        self.plan.gather(model)

    def _fit(self, model, step, checkpoints):
        settings = self.settings
        sizes = (settings.batch_size, settings.sequence_length)
        logs = str(self.logs / checkpoints.folder.name)
        progress = Progress(self.progress)
        callbacks = [progress]
        if self.writes:
            board = keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0)
            routing = [RoutingCallback(logs)] if routing_metrics(model) else []
            callbacks = [*routing, progress, board]
        callbacks += [keras.callbacks.TerminateOnNaN(raise_error=True), checkpoints]
        model.fit(
            language_model_batches(self.tokens["train"], *sizes, settings.seed, start_step=step),
            steps_per_epoch=settings.steps_per_epoch,
            initial_epoch=step // settings.steps_per_epoch,
            epochs=settings.steps // settings.steps_per_epoch,
            validation_data=evaluation_batches(self.tokens["validation"], *sizes),
            callbacks=callbacks,
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )

    def _evaluate(self, model, history):
        settings = self.settings
        row = evaluate_tokens(
            model,
            self.tokens["test"],
            self.test_characters,
            settings.batch_size,
            settings.sequence_length,
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
        save_for_later(model, self.tokenizer, self.folder.path)
        results = {
            "python": platform.python_version(),
            "machine": platform.processor() or platform.machine(),
            "models": rows,
        }
        self.folder.write_json(RESULTS, results)
        self.show("\n" + format_table(rows, COLUMNS))
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
        self.show(f"Curves and routing: tensorboard --logdir {self.logs}")


def save_for_later(model, tokenizer, folder):
    """Write `model.keras`, `vocabulary.txt` and `saved_model` into a folder, each in one piece."""
    folder = Path(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{MODEL}.", dir=folder) as scratch:
            model.save(Path(scratch, MODEL))
            Path(scratch, MODEL).replace(folder / MODEL)
        tokenizer.save(folder / VOCABULARY)
    except OSError as error:
        raise OSError(
            f"The model could not be written to {str(folder)!r}: {error}. Make room, and do the "
            "same again."
        ) from error
    export_saved_model(
        model, folder / SAVED_MODEL, language_model_endpoints(model, tokenizer), track=[tokenizer]
    )


def load_from_folder(folder):
    """The model and the tokenizer of a finished run.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: a file is damaged, or the vocabulary is not the model's.
    """
    folder = Path(folder)
    missing = [name for name in (MODEL, VOCABULARY) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected the folder of a finished run, with {MODEL} and {VOCABULARY}. Received: "
            f"{str(folder)!r}, without {' and '.join(missing)}. Train one with: "
            f"moe-zoo train lstm_lm --output {folder}"
        )
    tokenizer = Tokenizer.load(folder / VOCABULARY)
    try:
        model = keras.models.load_model(folder / MODEL)
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise ValueError(
            f"Expected a whole model. Received: {str(folder / MODEL)!r}, which cannot be read: "
            f"{error}. Run the training's command again: it writes that file anew."
        ) from error
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"{str(folder / VOCABULARY)!r} with {tokenizer.vocabulary_size}. Restore the file of "
            "the run."
        )
    return model, tokenizer
