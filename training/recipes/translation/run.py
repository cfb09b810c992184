"""One run of the translation recipe."""

import keras
import numpy as np

from moe_zoo.terminal import format_table
from moe_zoo.training.recipes.text_run import EXAMPLES, TextRun
from moe_zoo.training.runs.evaluation import dropless_note
from moe_zoo.training.runs.finished_run import SAVED_MODEL
from moe_zoo.training.runs.serving import serve_in_fresh_process
from moe_zoo.training.runs.translate import most_new_tokens, translate_texts
from moe_zoo.validation import LARGEST_SIZE

from .bleu import corpus_bleu, require_sacrebleu
from .dataset import encode_pairs, translation_batches
from .parallel_text import read_parallel_text
from .recipe import make_translation_model

SAMPLES = 4
COLUMNS = {
    "model": "model",
    "parameters": "parameters",
    "bleu": "test BLEU",
    "perplexity": "test perplexity",
    "load_cv": "load CV",
    "training_dropped_fraction": "dropped in training",
    "dead_experts": "dead experts",
    "tokens_per_second": "tokens/s",
    "seconds": "seconds",
}


class TranslationRun(TextRun):
    """Trains models that translate, and compares their BLEU; see `TextRun`."""

    def read_text(self):
        require_sacrebleu()
        settings = self.settings
        return read_parallel_text(settings.data, settings.source, settings.target, settings.test)

    def texts_to_learn_from(self):
        for side in (0, 1):
            yield "\n".join(pair[side] for pair in self.text.train)

    def encode(self, part):
        # What is reported counts every pair.
        longest = self.settings.max_length if part == "train" else LARGEST_SIZE
        return encode_pairs(self.tokenizer, getattr(self.text, part), longest)

    def describe(self, part):
        encoded = self.encoded[part]
        left_out = f", {encoded.dropped:,} more are too long" if encoded.dropped else ""
        return (
            f"{self.text.source} to {self.text.target}, {part}: "
            f"{len(encoded.lengths):,} pairs, {encoded.lengths.sum():,} tokens{left_out}"
        )

    def batches(self, part, start_step=0, endless=False):
        return translation_batches(self.encoded[part], self.plans[part], start_step, endless)

    def examples(self):
        pairs = self.text.validation[:EXAMPLES]
        return [pair.source for pair in pairs], [pair.target for pair in pairs]

    def make_model(self, router):
        return make_translation_model(self.settings, self.tokenizer.vocabulary_size, router)

    def evaluate(self, model, history):
        settings, test = self.settings, self.text.test
        values = model.evaluate(self.batches("test"), verbose=0, return_dict=True)
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
        plan = self.plans["train"]
        tokens = plan.lengths.sum() / plan.batches_per_epoch * settings.steps_per_epoch
        seconds = np.median([epoch["seconds"] for epoch in history])
        return {
            "bleu": bleu.score,
            "signature": bleu.signature,
            "perplexity": float(values["perplexity"]),
            "tokens_per_second": float(tokens / seconds),
            "translations": translations,
        }

    def show_results(self, rows):
        self.show("\n" + format_table(rows, COLUMNS) + dropless_note(rows))
        self.show(f"\nBLEU: {rows[0]['signature']}")
        pairs = self.text.test[:SAMPLES]
        served = self.folder / SAVED_MODEL
        self.show(f"\nSavedModel: {served}")
        self.show("Reloaded without moe_zoo in a fresh process, it translates:\n")
        longest = max(self.encoded["test"].source.lengths[:SAMPLES])
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
