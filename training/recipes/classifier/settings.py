"""The settings of the text classifier's recipe, as plain data: no Keras is imported here."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import setting
from moe_zoo.training.recipes.transformer_settings import TransformerSettings, with_default
from moe_zoo.validation import check_int, check_rate

DOCSTRINGS, IMDB = "docstrings", "imdb"


@dataclass(frozen=True)
class ClassifierSettings(TransformerSettings):
    """Everything that decides the result of a run; `help` of each field says what it is.

    Raises:
        ValueError: as `TransformerSettings`.

    Example:

    >>> ClassifierSettings(router="gshard").data
    'docstrings'
    """

    data: str = setting(
        DOCSTRINGS,
        f"{DOCSTRINGS} of Python's own library, {IMDB}, or a file or folder of label<TAB>text",
    )
    path: str | None = setting(None, f"folder of {IMDB}'s files")
    num_labels: int = setting(16, f"modules that {DOCSTRINGS} are told apart by")
    vocabulary_size: int = with_default("vocabulary_size", 2048)
    width: int = with_default("width", 128)
    num_layers: int = with_default("num_layers", 2)
    dropout: float = with_default("dropout", 0.2)
    learning_rate: float = with_default("learning_rate", 1e-3)
    warmup_steps: int = with_default("warmup_steps", 50)
    steps: int = with_default("steps", 600)
    steps_per_epoch: int = with_default("steps_per_epoch", 50)
    max_length: int = setting(128, "tokens of a text; what lies beyond is left out")
    batch_tokens: int = setting(4096, "tokens in a batch, padding included")
    num_buckets: int = setting(6, "shapes of batches")
    label_smoothing: float = setting(0.1, "weight shared by all labels")

    def __post_init__(self):
        super().__post_init__()
        for name in ("max_length", "batch_tokens", "num_buckets"):
            check_int(name, getattr(self, name), least=1)
        check_int("num_labels", self.num_labels, least=2)
        check_rate("label_smoothing", self.label_smoothing)
