"""The base of text recipes: vocabulary, examples of routing, saving, the result table."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.tensorboard import RoutedExamples
from moe_zoo.terminal import format_table
from moe_zoo.training.runs.evaluation import dropless_note
from moe_zoo.training.runs.finished_run import learn_or_load, save_for_later
from moe_zoo.training.runs.recipe import Recipe
from moe_zoo.training.runs.routed_text import text_examples
from moe_zoo.training.runs.run import Run

from .settings import TextSettings

PARTS = ("train", "validation", "test")
EXAMPLES = 4  # texts of the validation part whose routing is shown


class TextRecipe(Recipe):
    """A recipe whose models have a vocabulary that is trained on the text.

    A subclass has `settings`, gives the texts to train the vocabulary on and those to show, and
    turns parts into numbers.
    """

    settings: TextSettings
    tokenizer: Tokenizer
    columns: dict[str, str]

    @property
    def steps(self) -> int:
        """Training steps of each variant."""
        return self.settings.steps

    @property
    def steps_per_epoch(self) -> int:
        """Steps between validations and checkpoints."""
        return self.settings.steps_per_epoch

    def training_texts(self) -> Iterable[str]:
        """Return the texts of the training part, on which the vocabulary is trained."""
        raise NotImplementedError

    def example_texts(self) -> tuple[Sequence[str], Sequence[str] | None, int]:
        """Return texts whose routing is shown, their translations, and their largest length."""
        raise NotImplementedError

    def prepare(self, run: Run) -> None:
        """Train the vocabulary, or load the one in the folder."""
        size = self.settings.vocabulary_size
        self.tokenizer = learn_or_load(run.folder, self.training_texts, size, run.show)

    def examples(self, model: keras.Model) -> RoutedExamples:
        """Return the first texts of the validation part."""
        texts, translations, longest = self.example_texts()
        return text_examples(model, self.tokenizer, texts, translations, longest)

    def save(self, model: keras.Model, run: Run) -> None:
        """Save the model and its vocabulary, and export it."""
        save_for_later(model, self.tokenizer, run.folder.path)

    def show_table(self, rows: Sequence[dict[str, Any]], run: Run) -> None:
        """Show a row for each variant."""
        run.show("\n" + format_table(rows, self.columns) + dropless_note(rows))

    def tokens_per_second(self, tokens: float, history: list[dict[str, float]]) -> float:
        """Compute the number of tokens that a usual epoch trains on in a second."""
        return float(tokens / np.median([epoch["seconds"] for epoch in history]))
