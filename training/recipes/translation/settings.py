"""The settings of the translation model's recipe, as plain data: no Keras is imported here."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import setting
from moe_zoo.training.recipes.transformer_settings import TransformerSettings, with_default
from moe_zoo.validation import check_at_least, check_int, check_rate


@dataclass(frozen=True)
class TranslationSettings(TransformerSettings):
    """Everything that decides the result of a run; `help` of each field says what it is.

    Raises:
        ValueError: as `TransformerSettings`.

    Example:

    >>> TranslationSettings(router="gshard").num_layers
    3
    """

    vocabulary_size: int = with_default("vocabulary_size", 6000)
    num_layers: int = with_default("num_layers", 3)
    learning_rate: float = with_default("learning_rate", 2.5e-3)
    steps: int = with_default("steps", 2500)
    source: str | None = setting(None, "language to translate from, as the files' names end")
    target: str | None = setting(None, "language to translate to")
    test: str | None = setting(None, "name of the test part, where there are several")
    max_length: int = setting(128, "tokens of a sentence; pairs with longer ones are left out")
    batch_tokens: int = setting(2048, "tokens of the longer side in a batch, padding included")
    num_buckets: int = setting(8, "shapes of batches")
    label_smoothing: float = setting(0.1, "weight shared by all pieces of the vocabulary")
    num_beams: int = setting(4, "of the test translations; 1 is greedy")
    length_penalty: float = setting(0.6, "of beam search")

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_tokens", "num_buckets", "num_beams"):
            check_int(name, getattr(self, name), least=1)
        check_int("max_length", self.max_length, least=2)
        check_rate("label_smoothing", self.label_smoothing)
        check_at_least("length_penalty", self.length_penalty, 0.0)
