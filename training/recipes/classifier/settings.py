"""Settings of the recipe of a text classifier."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import TransformerSettings, setting, whole, with_default
from moe_zoo.validation import check_rate, shown

DOCSTRINGS, IMDB = "docstrings", "imdb"


@dataclass(frozen=True)
class ClassifierSettings(TransformerSettings):
    """All settings that decide the result of a run; `help` of each field describes it.

    Raises:
        ValueError: As `TransformerSettings`, or if `path` is given for other data than `"imdb"`.

    Example:

    >>> ClassifierSettings(router="gshard").data
    'docstrings'
    """

    title = "Transformer encoder with mixtures of experts that labels texts"
    about = (
        "Train a text classifier, and models with other routers or none, compare them on the test "
        "part, export the first one as a SavedModel, and let a fresh process label texts. The same "
        "command resumes where an earlier one was stopped. Without --data it learns which module "
        "of Python's standard library a docstring belongs to."
    )

    data: str = setting(
        DOCSTRINGS,
        f"{DOCSTRINGS} of Python's standard library, {IMDB}, or a file or folder of label<TAB>text",
    )
    path: str | None = setting(None, f"folder of the files of {IMDB}")
    num_labels: int = setting(16, f"number of modules whose {DOCSTRINGS} are used", check=whole(2))
    vocabulary_size: int = with_default(TransformerSettings, "vocabulary_size", 2048)
    width: int = with_default(TransformerSettings, "width", 128)
    num_layers: int = with_default(TransformerSettings, "num_layers", 2)
    dropout: float = with_default(TransformerSettings, "dropout", 0.2)
    learning_rate: float = with_default(TransformerSettings, "learning_rate", 1e-3)
    warmup_steps: int = with_default(TransformerSettings, "warmup_steps", 50)
    steps: int = with_default(TransformerSettings, "steps", 600)
    steps_per_epoch: int = with_default(TransformerSettings, "steps_per_epoch", 50)
    max_length: int = setting(128, "tokens of a text; the rest is cut off", check=whole(1))
    batch_tokens: int = setting(4096, "tokens in a batch, padding included", check=whole(1))
    num_buckets: int = setting(6, "number of batch shapes", check=whole(1))
    label_smoothing: float = setting(
        0.1, "label smoothing: weight that all labels share", check=check_rate
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is not None and self.data != IMDB:
            raise ValueError(
                f"Expected a path for data={shown(IMDB)} only. Received: path={shown(self.path)} "
                f"for data={shown(self.data)}. Give the path of your own text as data."
            )
