"""The settings of the recommender's recipe, as plain data: no Keras is imported here."""

from dataclasses import dataclass

from moe_zoo.training.recipes.settings import check_run_seed, check_values, setting
from moe_zoo.validation import LARGEST_INT, check_int, check_positive, check_rate, shown

SOURCES = ("synthetic", "census_income", "adult", "movielens")
MIXINGS = ("mmoe", "omoe", "shared_bottom", "single_task", "cross_stitch", "cgc", "ple")
GATES = ("softmax", "noisy_top_k", "dselect_k")


@dataclass(frozen=True)
class RecommenderSettings:
    """All settings that decide the result of a run; see the `help` of each field.

    Raises:
        ValueError: If a size is not positive, or a name is not among the choices.

    Example:

    >>> RecommenderSettings(mixing="ple", epochs=3).batch_size
    512
    """

    mixing: str = setting("mmoe", "how tasks share what they learn", choices=MIXINGS)
    num_experts: int = setting(8, "experts of mmoe and omoe; the other mixings get the same size")
    expert_units: str = setting("16", "units of each layer of an expert, as 64,32")
    tower_units: str = setting("8", "units of each layer of a task's tower")
    gate: str = setting("softmax", "gate of mmoe, omoe, cgc and ple", choices=GATES)
    top_k: int = setting(2, "experts that a sparse gate chooses for a row")
    gate_dropout: float = setting(0.0, "chance that a gate loses an expert, in training")
    uncertainty_weights: bool = setting(False, "learn the weights of the tasks' losses")
    embedding_dim: int = setting(8, "embedding size of features that set none")
    task_group: int = setting(1, "of census_income: 1 predicts income, 2 college", choices=(1, 2))
    edition: str = setting("100k", "of movielens", choices=("100k", "1m"))
    correlation: float = setting(0.5, "of synthetic tasks, the cosine of their weights")
    rows: int = setting(10_000, "of synthetic tasks, to train on and to test on")
    stream_rows: int = setting(2_000_000, "tables with more rows are read anew in every epoch")
    batch_size: int = setting(512, "rows in a batch")
    epochs: int = setting(10, "the best one by the validation part is kept")
    learning_rate: float = setting(3e-3, "of Adam")
    optimizer: str = setting(
        "adam",
        "lazy_adam touches only the rows of large embeddings that a batch looks up",
        choices=("adam", "lazy_adam"),
    )
    unseen_rate: float = setting(
        0.02,
        "chance that a value is hidden in training, so that unseen values score well",
    )
    precision: str = setting(
        "float32",
        "Keras dtype policy",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    data_seed: int = setting(0, "of the split into parts, and of synthetic tasks")

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("num_experts", "top_k", "embedding_dim", "rows"):
            check_int(name, getattr(self, name), least=1)
        check_int("stream_rows", self.stream_rows, least=1, most=LARGEST_INT)
        for name in ("batch_size", "epochs"):
            check_int(name, getattr(self, name), least=1)
        check_run_seed("data_seed", self.data_seed)
        check_positive("learning_rate", self.learning_rate, "0.001 is common with Adam.")
        check_rate("gate_dropout", self.gate_dropout)
        check_rate("unseen_rate", self.unseen_rate)
        if abs(self.correlation) > 1.0:
            raise ValueError(
                "Expected a cosine from -1 to 1. Received: "
                f"correlation={self.correlation}. 0 is for tasks that have nothing in common."
            )
        for name in ("expert_units", "tower_units"):
            units(name, getattr(self, name))


def units(name: str, text: str) -> tuple[int, ...]:
    """Parse the sizes of layers: `"64,32"` -> `(64, 32)`. Raise `ValueError` for other texts."""
    try:
        return tuple(check_int(name, int(part), least=1) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"Expected units of one or more layers, as 64,32. Received: {name}={shown(text)}. "
            "Separate whole numbers by commas."
        ) from error
