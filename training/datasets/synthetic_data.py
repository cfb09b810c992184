"""Make data for recommenders from the synthetic tasks."""

from collections.abc import Mapping

from moe_zoo.training.tables.recommender_data import RecommenderData, data_in_memory
from moe_zoo.training.tables.rows import Rows

from .synthetic_tasks import draw_tasks

ROWS = {"train": 10_000, "validation": 1_000, "test": 1_000}
TASKS = ("first", "second")


def synthetic_data(
    correlation: float = 0.5,
    dim: int = 100,
    variant: str | Mapping = "google_research",
    seed: int = 0,
    rows: Mapping[str, int] | None = None,
) -> RecommenderData:
    """Make two regression tasks, `first` and `second`, with inputs `x0`, `x1` and so on.

    Args:
        correlation: Cosine of the weights of the two tasks.
        dim: Number of inputs.
        variant: See `draw_tasks`.
        seed: Seed of the tasks and of all rows.
        rows: Number of rows in each part; by default 10,000, 1,000 and 1,000.

    Returns:
        `RecommenderData`.

    Raises:
        ValueError: If a size or the correlation is outside its range, or if the variant is unknown.

    Example:

    >>> features, labels = synthetic_data(dim=3).whole("test")
    >>> sorted(features), labels["first"].shape
    (['x0', 'x1', 'x2'], (1000,))
    """
    rows = dict(ROWS if rows is None else rows)
    tasks = draw_tasks(sum(rows.values()), correlation, dim, variant, seed)
    whole = Rows(
        {f"x{i}": column for i, column in enumerate(tasks.inputs.T)},
        dict(zip(TASKS, tasks.labels.T, strict=True)),
    )
    parts, first = {}, 0
    for part, count in rows.items():
        parts[part] = whole.take(slice(first, first + count))
        first += count
    name = variant if isinstance(variant, str) else "own constants"
    return data_in_memory(
        features={name: {"kind": "number"} for name in whole.features},
        tasks={name: {"kind": "regression"} for name in TASKS},
        parts=parts,
        description=f"synthetic tasks ({name}) of correlation {correlation:g}, seed {seed}",
    )
