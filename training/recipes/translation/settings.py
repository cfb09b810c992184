"""Settings of the recipe of a translation model."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import (
    TransformerSettings,
    not_negative,
    setting,
    whole,
    with_default,
)
from moe_zoo.validation import check_rate


@dataclass(frozen=True)
class TranslationSettings(TransformerSettings):
    """All settings that decide the result of a run; `help` of each field describes it.

    Raises:
        ValueError: As `TransformerSettings`.

    Example:

    >>> TranslationSettings(router="gshard").num_layers
    3
    """

    title = "encoder-decoder Transformer with mixtures of experts (Fedus et al. 2022)"
    about = (
        "Train a translation model on parallel text, and models with other routers or none, "
        "compare their BLEU on the test part, export the first one as a SavedModel, and let a "
        "fresh process translate. The same command resumes where an earlier one was stopped. "
        "--data is a folder with train, test and optionally val files, such as train.en and "
        "train.de, or train.tsv, gzipped or not, or a single tab-separated file."
    )

    vocabulary_size: int = with_default(TransformerSettings, "vocabulary_size", 6000)
    num_layers: int = with_default(TransformerSettings, "num_layers", 3)
    learning_rate: float = with_default(TransformerSettings, "learning_rate", 2.5e-3)
    steps: int = with_default(TransformerSettings, "steps", 2500)
    source: str | None = setting(
        None, "language to translate from, as its files end; en or the first one if not given"
    )
    target: str | None = setting(None, "language to translate to; the other one if not given")
    test: str | None = setting(None, "name of the test part, if there are several")
    max_length: int = setting(
        128, "tokens of a sentence; longer training pairs are dropped", check=whole(2)
    )
    batch_tokens: int = setting(
        2048, "tokens of the longer side in a batch, padding included", check=whole(1)
    )
    num_buckets: int = setting(8, "number of batch shapes", check=whole(1))
    label_smoothing: float = setting(
        0.1, "label smoothing: weight that the whole vocabulary shares", check=check_rate
    )
    num_beams: int = setting(4, "beams of the test translations; 1 is greedy", check=whole(1))
    length_penalty: float = setting(0.6, "length penalty of beam search", check=not_negative)
