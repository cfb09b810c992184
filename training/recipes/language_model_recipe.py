"""The base of language model recipes: a corpus in windows, perplexity, generated text."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.training.runs.evaluation import LANGUAGE_MODEL_COLUMNS, evaluate_tokens
from moe_zoo.training.runs.run import Run
from moe_zoo.training.runs.serving import generate_in_fresh_process
from moe_zoo.training.text.corpus import read_corpus
from moe_zoo.training.text.text_dataset import (
    encode_documents,
    evaluation_batches,
    language_model_batches,
)

from .routers import DENSE
from .text_recipe import EXAMPLES, PARTS, TextRecipe

MIXTURE = "mixture"
DEFAULT_PROMPTS = ("def read(self", "class Test", "    Return the")


class LanguageModelRecipe(TextRecipe):
    """A recipe of language models: a mixture, and its FLOP-matched dense baseline.

    A subclass makes the models.

    Args:
        settings: Settings of the recipe, with `batch_size` and `sequence_length`.
        compare: Whether to train the dense baseline too.
        prompts: Texts that the exported model continues at the end.

    Raises:
        ValueError: If no model can be made of the settings.
    """

    settings: Any  # `LSTMSettings` or `TransformerLMSettings`
    columns = LANGUAGE_MODEL_COLUMNS

    def __init__(
        self, settings: Any, compare: bool = False, prompts: Sequence[str] = DEFAULT_PROMPTS
    ):
        self.settings, self.prompts = settings, list(prompts)
        self.variants = (MIXTURE, DENSE) if compare else (MIXTURE,)
        self.check(compare)

    def check(self, compare: bool) -> None:
        """Refuse settings that no model, or no dense baseline, can be made of."""
        raise NotImplementedError

    def read(self) -> dict[str, Any]:
        """Read the corpus."""
        self.corpus = read_corpus(self.settings.data)
        return {**dataclasses.asdict(self.settings), "corpus": self.corpus.fingerprint}

    def prepare(self, run: Run) -> None:
        """Encode all documents."""
        corpus = self.corpus
        if corpus.skipped:
            run.show(
                f"Skipped {len(corpus.skipped)} files that are not text, such as "
                f"{corpus.skipped[0]}."
            )
        super().prepare(run)
        self.tokens = {
            part: encode_documents(self.tokenizer, getattr(corpus, part)) for part in PARTS
        }
        sizes = ", ".join(f"{len(tokens):,} {part}" for part, tokens in self.tokens.items())
        run.show(f"Text: {sizes} tokens, vocabulary of {self.tokenizer.vocabulary_size:,}.")

    def training_texts(self) -> Iterable[str]:
        """Yield the documents of the training part."""
        return (text for _, text in self.corpus.train)

    def example_texts(self) -> tuple[Sequence[str], None, int]:
        """Return the first documents of the validation part."""
        texts = [document.text for document in self.corpus.validation[:EXAMPLES]]
        return texts, None, self.settings.sequence_length

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.settings.batch_size, self.settings.sequence_length

    def training_batches(self, variant: str, step: int) -> tf.data.Dataset:
        """Make batches of windows of the training part."""
        return language_model_batches(
            self.tokens["train"], *self._sizes, self.settings.seed, start_step=step
        )

    def batches(self, part: str) -> tf.data.Dataset:
        """Make batches of windows of a part."""
        return evaluation_batches(self.tokens[part], *self._sizes)

    def evaluate(
        self, model: keras.Model, history: list[dict[str, float]], run: Run
    ) -> dict[str, Any]:
        """Compute the perplexity, and how the experts were used."""
        characters = sum(len(document.text) for document in self.corpus.test)
        batch_size, sequence_length = self._sizes
        row = evaluate_tokens(
            model, self.tokens["test"], characters, batch_size, sequence_length, history
        )
        tokens = self.steps_per_epoch * batch_size * sequence_length
        return {**row, "tokens_per_second": self.tokens_per_second(tokens, history)}

    def show(self, rows: Sequence[dict[str, Any]], run: Run) -> None:
        """Show the table, and generate text in a fresh process."""
        self.show_table(rows, run)
        if len(rows) == 2:
            mixture, dense = (row["perplexity"] for row in rows)
            change = 100 * (1 - mixture / dense)
            word = "below" if change > 0 else "above"
            run.show(
                f"\nAfter {self.steps:,} steps each, the mixture's test perplexity is "
                f"{abs(change):.1f} % {word} that of the FLOP-matched dense baseline."
            )
        run.show(f"\nSavedModel: {run.saved_model}")
        run.show("Reloaded in a fresh process without moe_zoo, it writes:\n")
        seed = self.settings.seed
        for text in generate_in_fresh_process(run.saved_model, self.prompts, seed=seed):
            run.show("\n".join("    " + line for line in text.splitlines()) + "\n")
