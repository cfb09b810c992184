"""The recipe of a translation model: one Transformer for each router, and one without."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from moe_zoo.models import TransformerSeq2Seq
from moe_zoo.training.optim.losses import Perplexity, SmoothedCrossEntropy
from moe_zoo.training.recipes.router_recipe import RouterRecipe
from moe_zoo.training.recipes.text_recipe import EXAMPLES
from moe_zoo.training.recipes.transformer_parts import compile_model, make_layers
from moe_zoo.training.runs.evaluation import ROUTING_COLUMNS, routing_summary
from moe_zoo.training.runs.run import Run
from moe_zoo.training.runs.serving import serve_in_fresh_process
from moe_zoo.training.runs.translate import most_new_tokens, translate_texts
from moe_zoo.validation import LARGEST_SIZE

from .bleu import corpus_bleu, require_sacrebleu
from .dataset import EncodedPairs, encode_pairs, translation_batches
from .parallel_text import ParallelText, read_parallel_text
from .settings import TranslationSettings

SAMPLES = 4


class TranslationRecipe(RouterRecipe):
    """Trains translation models with several routers, and compares their BLEU.

    Args:
        settings: Settings of the recipe.
        routers: Names of the routers to compare, or `"dense"`, each once; by default the one in the
            settings.
    """

    settings: TranslationSettings
    text: ParallelText
    columns = {
        "model": "model",
        "parameters": "parameters",
        "bleu": "test BLEU",
        "perplexity": "test perplexity",
        **ROUTING_COLUMNS,
        "tokens_per_second": "tokens/s",
        "seconds": "seconds",
    }

    def read_text(self) -> ParallelText:
        """Read the parallel text."""
        settings = self.settings
        if settings.data is None:
            raise ValueError(
                "Expected parallel text. Received: no --data. Give a folder with train.en, "
                "train.de, test.en and test.de, or a file of sentence<TAB>translation."
            )
        require_sacrebleu()
        return read_parallel_text(settings.data, settings.source, settings.target, settings.test)

    def training_texts(self) -> Iterable[str]:
        """Yield both sides of the training part."""
        for side in (0, 1):
            yield "\n".join(pair[side] for pair in self.text.train)

    def example_texts(self) -> tuple[Sequence[str], Sequence[str], int]:
        """Return the first pairs of the validation part."""
        sources, targets = zip(*self.text.validation[:EXAMPLES], strict=True)
        return sources, targets, self.settings.max_length

    def encode(self, part: str) -> EncodedPairs:
        """Encode a part; only long training pairs are dropped, so that results count every pair."""
        longest = self.settings.max_length if part == "train" else LARGEST_SIZE
        return encode_pairs(self.tokenizer, getattr(self.text, part), longest)

    def describe(self, part: str) -> str:
        """Describe a part in a line."""
        encoded = self.encoded[part]
        dropped = f", {encoded.dropped:,} more are too long" if encoded.dropped else ""
        return (
            f"{self.text.source} to {self.text.target}, {part}: "
            f"{len(encoded.lengths):,} pairs, {encoded.lengths.sum():,} tokens{dropped}"
        )

    def training_batches(self, variant: str, step: int) -> tf.data.Dataset:
        """Make batches of the training part."""
        return translation_batches(self.encoded["train"], self.samplers["train"], step)

    def batches(self, part: str) -> tf.data.Dataset:
        """Make batches of a part."""
        return translation_batches(self.encoded[part], self.samplers[part], endless=False)

    def make_model(self, variant: str, on_mesh: bool) -> TransformerSeq2Seq:
        """Make the model of a router."""
        settings = self.settings
        keras.utils.set_random_seed(settings.seed)
        model = TransformerSeq2Seq(
            self.tokenizer.vocabulary_size,
            begins_with_padding=False,
            name=variant,
            **make_layers(settings, variant),
        )
        loss = SmoothedCrossEntropy(settings.label_smoothing)
        return compile_model(model, settings, loss, Perplexity())

    def evaluate(
        self, model: TransformerSeq2Seq, history: list[dict[str, float]], run: Run
    ) -> dict[str, Any]:
        """Compute perplexity and BLEU of the test part."""
        settings, test = self.settings, self.text.test
        values = model.evaluate(self.batches("test"), verbose=0, return_dict=True)
        run.show("Translating the test part ...")
        progress = keras.utils.Progbar(len(test), verbose=int(run.progress))
        translations = translate_texts(
            model,
            self.tokenizer,
            [pair.source for pair in test],
            settings.num_beams,
            settings.length_penalty,
            progress.update,
        )
        bleu = corpus_bleu(translations, [pair.target for pair in test])
        sampler = self.samplers["train"]
        tokens = sampler.lengths.sum() / sampler.batches_per_epoch * settings.steps_per_epoch
        return {
            "bleu": bleu.score,
            "signature": bleu.signature,
            "perplexity": float(values["perplexity"]),
            "tokens_per_second": self.tokens_per_second(tokens, history),
            "translations": translations,
            **routing_summary(model, history),
        }

    def show(self, rows: Sequence[dict[str, Any]], run: Run) -> None:
        """Show the table, and translate in a fresh process."""
        self.show_table(rows, run)
        run.show(f"\nBLEU: {rows[0]['signature']}")
        pairs = self.text.test[:SAMPLES]
        run.show(f"\nSavedModel: {run.saved_model}")
        run.show("Reloaded in a fresh process without moe_zoo, it translates:\n")
        longest = max(self.encoded["test"].source.lengths[:SAMPLES])
        texts = serve_in_fresh_process(
            run.saved_model,
            "translate",
            [pair.source for pair in pairs],
            [
                most_new_tokens(int(longest)),
                self.settings.num_beams,
                float(self.settings.length_penalty),
            ],
        )
        for pair, text in zip(pairs, texts, strict=True):
            run.show(f"    {self.text.source:9} {pair.source}")
            run.show(f"    {self.text.target:9} {text.strip()}\n    reference {pair.target}\n")
