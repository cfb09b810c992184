"""The settings of the Transformer language model's recipe, as plain data."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import setting
from moe_zoo.training.recipes.transformer_settings import TransformerSettings, with_default
from moe_zoo.validation import check_int


@dataclass(frozen=True)
class TransformerLMSettings(TransformerSettings):
    """Everything that decides the result of a run; `help` of each field says what it is.

    Raises:
        ValueError: as `TransformerSettings`.

    Example:

    >>> TransformerLMSettings(router="gshard").batch_size
    16
    """

    vocabulary_size: int = with_default("vocabulary_size", 2048)
    batch_size: int = setting(16, "windows in a batch")
    sequence_length: int = setting(128, "tokens in a window")

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_size", "sequence_length"):
            check_int(name, getattr(self, name), least=1)
