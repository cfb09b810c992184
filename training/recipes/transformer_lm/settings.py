"""Settings of the recipe of the Transformer language model."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import TransformerSettings, setting, whole, with_default


@dataclass(frozen=True)
class TransformerLMSettings(TransformerSettings):
    """All settings that decide the result of a run; `help` of each field describes it.

    Raises:
        ValueError: As `TransformerSettings`.

    Example:

    >>> TransformerLMSettings(router="gshard").batch_size
    16
    """

    title = "Transformer language model with mixtures of experts (Fedus et al. 2022)"
    about = (
        "Train a decoder-only Transformer with mixtures of experts, evaluate it on the test part, "
        "export it as a SavedModel, and let a fresh process generate text. The same command "
        "resumes where an earlier one was stopped. Without --data it trains on the source of "
        "Python's standard library."
    )

    vocabulary_size: int = with_default(TransformerSettings, "vocabulary_size", 2048)
    batch_size: int = setting(16, "windows in a batch", check=whole(1))
    sequence_length: int = setting(128, "tokens in a window", check=whole(1))
