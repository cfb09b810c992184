"""One run of the classifier's recipe."""

import numpy as np

from moe_zoo.terminal import format_table
from moe_zoo.training.recipes.text_run import EXAMPLES, TextRun
from moe_zoo.training.runs.evaluation import dropless_note
from moe_zoo.training.runs.finished_run import LABELS, SAVED_MODEL
from moe_zoo.training.runs.serving import serve_in_fresh_process

from .dataset import classifier_batches, encode_examples
from .recipe import make_classifier
from .report import label_scores, label_table, summary
from .sources import read_source

SAMPLES, SHOWN_CHARACTERS = 4, 70
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "accuracy": "test accuracy",
    "macro_f1": "macro F1",
    "load_cv": "load CV",
    "training_dropped_fraction": "dropped in training",
    "dead_experts": "dead experts",
    "seconds": "seconds",
}


class ClassifierRun(TextRun):
    """Trains classifiers of labelled texts; see `TextRun`."""

    elsewhere = ("data", "path", "router")

    def read_text(self):
        return read_source(self.settings)

    def texts_to_learn_from(self):
        return ["\n".join(text for _, text in self.text.train)]

    def encode(self, part):
        examples, labels = getattr(self.text, part), self.text.labels
        return encode_examples(self.tokenizer, examples, labels, self.settings.max_length)

    def describe(self, part):
        encoded = self.encoded[part]
        cut = f", {encoded.shortened:,} of them cut" if encoded.shortened else ""
        return (
            f"{part}: {len(encoded.labels):,} texts of {len(self.text.labels)} labels, "
            f"{encoded.lengths.sum():,} tokens{cut}"
        )

    def batches(self, part, start_step=0, endless=False):
        return classifier_batches(self.encoded[part], self.plans[part], start_step, endless)

    def examples(self):
        return [text for _, text in self.text.validation[:EXAMPLES]], None

    def make_model(self, router):
        sizes = self.tokenizer.vocabulary_size, len(self.text.labels)
        return make_classifier(self.settings, *sizes, router)

    def evaluate(self, model, history):
        parts: tuple[list, list] = ([], [])
        for tokens, label, weight in self.batches("test"):
            real = weight.numpy() > 0
            parts[0].append(label.numpy()[real])
            parts[1].append(np.argmax(model(tokens, training=False), -1)[real])
        labels, predicted = map(np.concatenate, parts)
        names = self.text.labels
        return {
            **summary(labels, predicted, names),
            "labels": label_scores(labels, predicted, names),
        }

    def finish(self, model, rows):
        if self.writes:
            options = {"labels": self.text.labels, "max_tokens": self.settings.max_length}
            self.folder.write_json(LABELS, options)
        super().finish(model, rows)

    def show_results(self, rows):
        self.show(f"\nEach label, {rows[0]['model']}, test part\n{label_table(rows[0]['labels'])}")
        self.show("\n" + format_table(rows, COLUMNS) + dropless_note(rows))
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}")
        self.show("Reloaded without moe_zoo in a fresh process, it says:\n")
        every = max(len(self.text.test) // SAMPLES, 1)
        samples = self.text.test[::every][:SAMPLES]
        given = serve_in_fresh_process(served, "classify", [x.text for x in samples])
        for example, label in zip(samples, given["label"], strict=True):
            words = " ".join(example.text.split())[:SHOWN_CHARACTERS]
            self.show(f"    {label} (it is {example.label}): {words}")
