"""The recipe of a text classifier: one Transformer for each router, and one without."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.models import TransformerClassifier
from moe_zoo.training.optim.losses import SmoothedCrossEntropy
from moe_zoo.training.recipes.router_recipe import RouterRecipe
from moe_zoo.training.recipes.text_recipe import EXAMPLES
from moe_zoo.training.recipes.transformer_parts import compile_model, make_layers
from moe_zoo.training.runs.evaluation import ROUTING_COLUMNS, routing_summary
from moe_zoo.training.runs.run import Run
from moe_zoo.training.runs.serving import serve_in_fresh_process

from .dataset import EncodedExamples, classifier_batches, encode_examples
from .docstrings import read_docstrings
from .imdb import read_imdb
from .labelled_text import LabelledText, read_labelled_text
from .report import label_scores, label_table, summary
from .settings import DOCSTRINGS, IMDB, ClassifierSettings

KERAS_FOLDER = "~/.keras/datasets"
SAMPLES, SHOWN_CHARACTERS = 4, 70


class ClassifierRecipe(RouterRecipe):
    """Trains text classifiers with several routers, and compares their accuracy.

    Args:
        settings: Settings of the recipe.
        routers: Names of the routers to compare, or `"dense"`, each once; by default the one in the
            settings.
    """

    settings: ClassifierSettings
    text: LabelledText
    places = ("data", "path", "router")
    columns = {
        "model": "model",
        "parameters": "parameters",
        "accuracy": "test accuracy",
        "macro_f1": "macro F1",
        **ROUTING_COLUMNS,
        "seconds": "seconds",
    }

    def read_text(self) -> LabelledText:
        """Read the labelled text of that name, or of the user."""
        settings = self.settings
        if settings.data == DOCSTRINGS:
            return read_docstrings(settings.num_labels)
        if settings.data == IMDB:
            return read_imdb(settings.path or KERAS_FOLDER)
        return read_labelled_text(settings.data)

    def training_texts(self) -> Iterable[str]:
        """Join all texts of the training part."""
        return ["\n".join(text for _, text in self.text.train)]

    def example_texts(self) -> tuple[Sequence[str], None, int]:
        """Return the first texts of the validation part."""
        texts = [text for _, text in self.text.validation[:EXAMPLES]]
        return texts, None, self.settings.max_length

    def encode(self, part: str) -> EncodedExamples:
        """Encode a part."""
        examples, labels = getattr(self.text, part), self.text.labels
        return encode_examples(self.tokenizer, examples, labels, self.settings.max_length)

    def describe(self, part: str) -> str:
        """Describe a part in a line."""
        encoded = self.encoded[part]
        cut = f", {encoded.shortened:,} of them cut" if encoded.shortened else ""
        return (
            f"{part}: {len(encoded.labels):,} texts of {len(self.text.labels)} labels, "
            f"{encoded.lengths.sum():,} tokens{cut}"
        )

    def training_batches(self, variant: str, step: int) -> tf.data.Dataset:
        """Make batches of the training part."""
        return classifier_batches(self.encoded["train"], self.samplers["train"], step)

    def batches(self, part: str) -> tf.data.Dataset:
        """Make batches of a part."""
        return classifier_batches(self.encoded[part], self.samplers[part], endless=False)

    def make_model(self, variant: str, on_mesh: bool) -> TransformerClassifier:
        """Make the model of a router."""
        settings = self.settings
        keras.utils.set_random_seed(settings.seed)
        model = TransformerClassifier(
            self.tokenizer.vocabulary_size,
            len(self.text.labels),
            name=variant,
            **make_layers(settings, variant),
        )
        loss = SmoothedCrossEntropy(settings.label_smoothing)
        metric = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return compile_model(model, settings, loss, metric)

    def evaluate(
        self, model: TransformerClassifier, history: list[dict[str, float]], run: Run
    ) -> dict[str, Any]:
        """Compute accuracy and F1 of the test part."""
        true, chosen = [], []
        for tokens, labels, weights in self.batches("test"):
            rows = weights.numpy() > 0
            true.append(labels.numpy()[rows])
            chosen.append(np.argmax(model(tokens, training=False), -1)[rows])
        results = np.concatenate(true), np.concatenate(chosen), self.text.labels
        return {
            **summary(*results),
            "labels": label_scores(*results),
            **routing_summary(model, history),
        }

    def save(self, model: TransformerClassifier, run: Run) -> None:
        """Save the model with the names of its labels."""
        model.labels, model.max_tokens = self.text.labels, self.settings.max_length
        super().save(model, run)

    def show(self, rows: Sequence[dict[str, Any]], run: Run) -> None:
        """Show the tables, and classify in a fresh process."""
        run.show(f"\nEach label, {rows[0]['model']}, test part\n{label_table(rows[0]['labels'])}")
        self.show_table(rows, run)
        run.show(f"\nSavedModel: {run.saved_model}")
        run.show("Reloaded in a fresh process without moe_zoo, it says:\n")
        step = max(len(self.text.test) // SAMPLES, 1)
        samples = self.text.test[::step][:SAMPLES]
        texts = [example.text for example in samples]
        answer = serve_in_fresh_process(run.saved_model, "classify", texts)
        for example, label in zip(samples, answer["label"], strict=True):
            words = " ".join(example.text.split())[:SHOWN_CHARACTERS]
            run.show(f"    {label} (correct: {example.label}): {words}")
