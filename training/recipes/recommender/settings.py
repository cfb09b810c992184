"""Settings of the recipe of a recommender."""

from dataclasses import dataclass
from typing import Any

from moe_zoo.training.recipes.settings import Settings, run_seed, setting, whole, with_default
from moe_zoo.validation import LARGEST_INT, check_int, check_rate, shown

SOURCES = ("synthetic", "census_income", "adult", "movielens")  # all but the first have files
MIXINGS = ("mmoe", "omoe", "shared_bottom", "single_task", "cross_stitch", "cgc", "ple")
GATES = ("softmax", "noisy_top_k", "dselect_k")


def units(name: str, text: str) -> tuple[int, ...]:
    """Parse sizes of layers: `"64,32"` -> `(64, 32)`. Raises `ValueError` for other texts."""
    try:
        return tuple(check_int(name, int(part), least=1) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"Expected units of one or more layers, such as 64,32. Received: {name}={shown(text)}. "
            "Separate whole numbers by commas."
        ) from error


def _layers(name: str, text: str) -> str:
    units(name, text)
    return text


def _cosine(name: str, value: Any) -> float:
    if abs(value) > 1.0:
        raise ValueError(
            f"Expected a cosine from -1 to 1. Received: {name}={value}. 0 is for tasks that have "
            "nothing in common."
        )
    return value


@dataclass(frozen=True)
class RecommenderSettings(Settings):
    """All settings that decide the result of a run; `help` of each field describes it.

    Raises:
        ValueError: As `Settings`.

    Example:

    >>> RecommenderSettings(mixing="ple", epochs=3).batch_size
    512
    """

    title = "multi-task ranking model with shared experts (Ma et al. 2018)"
    about = (
        "Train a model of several tasks on a table, with several seeds and with other mixings, "
        "compare them on the test part, and export the first one as a SavedModel that takes raw "
        "columns. The same command resumes where an earlier one was stopped."
    )

    mixing: str = setting("mmoe", "how tasks share experts", choices=MIXINGS)
    num_experts: int = setting(
        8, "experts of mmoe and omoe; the other mixings get as many weights", check=whole(1)
    )
    expert_units: str = setting("16", "units of an expert's layers, such as 64,32", check=_layers)
    tower_units: str = setting("8", "units of a task's tower layers", check=_layers)
    gate: str = setting("softmax", "gate of mmoe, omoe, cgc and ple", choices=GATES)
    top_k: int = setting(2, "experts per row with a sparse gate", check=whole(1))
    gate_dropout: float = setting(
        0.0, "probability that a gate drops an expert in training", check=check_rate
    )
    uncertainty_weights: bool = setting(False, "learn the weights of the tasks' losses")
    embedding_dim: int = setting(
        8, "embedding size of categories without a size of their own", check=whole(1)
    )
    task_group: int = setting(1, "of census_income: 1 predicts income, 2 college", choices=(1, 2))
    edition: str = setting("100k", "edition of movielens", choices=("100k", "1m"))
    correlation: float = setting(
        0.5, "correlation of the synthetic tasks: cosine of their weights", check=_cosine
    )
    rows: int = setting(
        10_000, "training rows of the synthetic tasks, and as many test rows", check=whole(1)
    )
    stream_rows: int = setting(
        2_000_000, "larger tables are read again in each epoch", check=whole(1, LARGEST_INT)
    )
    batch_size: int = setting(512, "rows in a batch", check=whole(1))
    epochs: int = setting(
        10, "training epochs; the best one on the validation part is kept", check=whole(1)
    )
    learning_rate: float = with_default(Settings, "learning_rate", 3e-3)
    optimizer: str = setting(
        "adam",
        "lazy_adam updates only the rows of large embeddings that a batch looks up",
        choices=("adam", "lazy_adam"),
    )
    unseen_rate: float = setting(
        0.02,
        "probability that a value is treated as an unseen one in training",
        check=check_rate,
    )
    data_seed: int = setting(0, "seed of the split and of synthetic tasks", check=run_seed)
