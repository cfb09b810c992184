"""One run of a language model's recipe: data, training, evaluation, export, all in one folder."""

import dataclasses
import json
import platform
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from moe_zoo.export import export_saved_model
from moe_zoo.models import language_model_endpoints
from moe_zoo.stats import routing_metrics, routing_stats
from moe_zoo.tensorboard import RoutingCallback
from .checkpoints import Checkpoints, latest_checkpoint
from .corpus import read_corpus
from .lstm_lm import make_dense_twin, make_model
from .progress import Progress
from .run_folder import RunFolder
from .table import format_table
from .text_dataset import (
    encode_documents,
    evaluation_batches,
    language_model_batches,
)
from .tokenizer import Tokenizer, train_vocabulary

MODEL, VOCABULARY, SAVED_MODEL, RESULTS = "model.keras", "vocabulary.txt", "saved_model", "results.json"
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

    Raises:
        ValueError: text that is too short, or a folder of another run.
        OSError: a path that does not exist or cannot be written.
    """

    def __init__(self, settings, output, logs=None, show=print, progress=True):
        self.settings, self.show, self.progress = settings, show, progress
        corpus = read_corpus(settings.data)
        description = {**dataclasses.asdict(settings), "corpus": corpus.fingerprint}
        self.folder = RunFolder(output, description)
        self.logs = Path(logs) if logs else self.folder / "logs"
        if corpus.skipped:
            show(f"Left out {len(corpus.skipped)} files that are not text, such as {corpus.skipped[0]}.")
        self.tokenizer = self._tokenizer(corpus)
        self.tokens = {
            part: encode_documents(self.tokenizer, getattr(corpus, part))
            for part in ("train", "validation", "test")
        }
        self.test_characters = sum(len(document.text) for document in corpus.test)
        sizes = ", ".join(f"{len(tokens):,} {part}" for part, tokens in self.tokens.items())
        show(f"Text: {sizes} tokens of {self.tokenizer.vocabulary_size:,} pieces.")

    def _tokenizer(self, corpus):
        path = self.folder / VOCABULARY
        if not path.exists():
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
        folder = self.folder / name
        found = latest_checkpoint(folder)
        if found is None:
            model, step, history = (
                make(settings, self.tokenizer.vocabulary_size),
                0,
                [],
            )
        else:
            model, step, history = found
        title = f"{model.name}: {model.count_params():,} parameters"
        self.show(f"\n{title}" + (f", going on at step {step:,}" if 0 < step < settings.steps else ""))
        if step < settings.steps:
            self._fit(model, folder, step, history)
        return model, self._evaluate(model, history)

    def _fit(self, model, folder, step, history):
        settings = self.settings
        sizes = (settings.batch_size, settings.sequence_length)
        logs = str(self.logs / folder.name)
        callbacks = [
            *([RoutingCallback(logs)] if routing_metrics(model) else []),
            Progress(self.progress),
            keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0),
            keras.callbacks.TerminateOnNaN(raise_error=True),
            Checkpoints(folder, settings.steps_per_epoch, history),
        ]
        model.fit(
            language_model_batches(self.tokens["train"], *sizes, settings.seed, start_step=step),
            steps_per_epoch=settings.steps_per_epoch,
            initial_epoch=step // settings.steps_per_epoch,
            epochs=settings.steps // settings.steps_per_epoch,
            validation_data=evaluation_batches(self.tokens["validation"], *sizes),
            callbacks=callbacks,
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
        """Save, export, show the table, and let a fresh process generate text from the SavedModel."""
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
                f"\nAt {self.settings.steps:,} equal steps the mixture's test perplexity is {abs(change):.1f} % {word} that "
                "of its dense twin, which computes as many products per token."
            )
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}\nReloaded without moe_zoo in a fresh process, it writes:\n")
        for text in generate_in_fresh_process(served, prompts, seed=self.settings.seed):
            self.show("\n".join("    " + line for line in text.splitlines()) + "\n")
        self.show(f"Curves and routing: tensorboard --logdir {self.logs}")


def evaluate_tokens(model, tokens, characters, batch_size, sequence_length):
    """Perplexity and expert balance of a model on a stream of tokens.

    Args:
        model: compiled, with the metric `Perplexity`.
        tokens: `<int32>[tokens]`.
        characters: `int`, characters of the text.
        batch_size, sequence_length: of the windows.

    Returns:
        `dict` of `perplexity`, `bits_per_character` and, for mixtures, `load_cv`, `dropped_fraction` and `dead_experts`.
    """
    routing_stats(model, training=False, reset=True)
    batches = evaluation_batches(tokens, batch_size, sequence_length)
    perplexity = model.evaluate(batches, verbose=0, return_dict=True)["perplexity"]
    row = {
        "perplexity": float(perplexity),
        "bits_per_character": float(np.log2(perplexity) * (len(tokens) - 1) / characters),
    }
    for stats in routing_stats(model, training=False).values():
        row["load_cv"] = stats.load_cv
        row["dropped_fraction"] = stats.dropped_fraction
        row["dead_experts"] = len(stats.dead_experts)
    return row


def save_for_later(model, tokenizer, folder):
    """Write `model.keras`, `vocabulary.txt` and `saved_model` into a folder, each in one piece."""
    folder = Path(folder)
    scratch = folder / f"new.{MODEL}"
    model.save(scratch)
    scratch.replace(folder / MODEL)
    tokenizer.save(folder / VOCABULARY)
    export_saved_model(
        model, folder / SAVED_MODEL, language_model_endpoints(model, tokenizer), track=[tokenizer]
    )


def load_from_folder(folder):
    """The model and the tokenizer of a finished run.

    Raises:
        FileNotFoundError: the folder holds no finished run.
        ValueError: its vocabulary is not the model's.
    """
    folder = Path(folder)
    missing = [name for name in (MODEL, VOCABULARY) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected the folder of a finished run, with {MODEL} and {VOCABULARY}. Received: {str(folder)!r}, "
            f"without {' and '.join(missing)}. Train one with: moe-zoo train lstm_lm --output {folder}"
        )
    model, tokenizer = keras.models.load_model(folder / MODEL), Tokenizer.load(folder / VOCABULARY)
    if tokenizer.vocabulary_size != model.vocabulary_size:
        raise ValueError(
            f"Expected a vocabulary of {model.vocabulary_size} pieces, as the model has. Received: "
            f"{str(folder / VOCABULARY)!r} with {tokenizer.vocabulary_size}. Restore the file of the run."
        )
    return model, tokenizer


def generate_in_fresh_process(
    saved_model, prompts, max_new_tokens=60, temperature=0.7, top_k=20, seed=0
):
    """Texts that a SavedModel generates in a process that has only TensorFlow and TensorFlow Text.

    Args:
        saved_model: folder with a `generate` endpoint.
        prompts: `list` of `str`.
        max_new_tokens: `int`, tokens to add to each.
        temperature: `float`, 0 for greedy.
        top_k: `int`, 0 for all.
        seed: `int`.

    Returns:
        `list` of `str`, prompts and what follows them.

    Raises:
        FileNotFoundError: there is no SavedModel.
        RuntimeError: the process failed; its last line is in the message.
    """
    if not (Path(saved_model) / "saved_model.pb").exists():
        raise FileNotFoundError(
            f"Expected a SavedModel. Received: {str(saved_model)!r}, which has no saved_model.pb. Write one with "
            "moe-zoo export."
        )
    request = {
        "saved_model": str(Path(saved_model).resolve()),
        "prompts": list(prompts),
        "options": [max_new_tokens, float(temperature), top_k, seed],
    }
    script = Path(__file__).with_name("serve_script.py")
    result = subprocess.run(
        [sys.executable, "-I", str(script)],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode:
        raise RuntimeError(
            f"The SavedModel {str(saved_model)!r} could not be served: "
            f"{(result.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    return json.loads(result.stdout.splitlines()[-1])
