"""Data of the recommender's recipe: by name, or a user's own table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from moe_zoo.terminal import show_text
from moe_zoo.training.datasets.adult import read_adult
from moe_zoo.training.datasets.census_income import read_census_income
from moe_zoo.training.datasets.movielens import read_movielens
from moe_zoo.training.datasets.synthetic_data import synthetic_data
from moe_zoo.training.tables.recommender_data import RecommenderData
from moe_zoo.training.tables.table_data import read_table_data
from moe_zoo.training.tables.table_settings import TableSettings, parse_settings, read_settings
from moe_zoo.validation import shown

from .settings import SOURCES, RecommenderSettings

VARIANT = "drawbridge"  # of the synthetic tasks; the other one asks for far more rows


def read_source(
    settings: RecommenderSettings,
    data: str,
    path: str | Path | None = None,
    features: Sequence[str] = (),
    tasks: Sequence[str] = (),
    description: str | Path | None = None,
    say: Callable[[str], None] = show_text,
) -> RecommenderData:
    """Read features, tasks and rows.

    Args:
        settings: Settings of the recipe.
        data: One of `SOURCES`, or the path of a table.
        path: Folder of a data set that has files, in place of the one it is downloaded to.
        features: `name:kind` and options of each feature of a user's own table.
        tasks: `name:kind` and options of each task of such a table.
        description: YAML file of features and tasks, in place of both.
        say: Function that takes a line of text for the user.

    Returns:
        `RecommenderData`.

    Raises:
        ValueError: If options do not fit together, or the table does not fit them.
        OSError: If the data do not exist.
    """
    if path is not None and data not in SOURCES[1:]:
        raise ValueError(
            f"Expected a folder of {', '.join(SOURCES[1:])} only. Received: "
            f"path={shown(str(path))} for data={shown(data)}. Leave it out, or give the path of a "
            "table as data."
        )
    if data not in SOURCES:
        if not Path(data).expanduser().exists():
            raise FileNotFoundError(
                f"Expected one of {', '.join(SOURCES)}, or a table. Received: data={shown(data)}, "
                "which is neither. Check the path."
            )
        return read_table_data(
            data, _table_settings(features, tasks, description), settings.data_seed, say=say
        )
    if features or tasks or description:
        raise ValueError(
            "Expected features and tasks of a table of your own. Received: some for "
            f"data={shown(data)}, which has its own. Leave them out, or give the path of a table."
        )
    if data == "census_income":
        return read_census_income(path, settings.task_group, settings.data_seed)
    if data == "adult":
        return read_adult(path, settings.data_seed)
    if data == "movielens":
        return read_movielens(settings.edition, path, settings.data_seed)
    rows = {"train": settings.rows, "validation": -(-settings.rows // 5), "test": settings.rows}
    return synthetic_data(settings.correlation, variant=VARIANT, seed=settings.data_seed, rows=rows)


def _table_settings(
    features: Sequence[str], tasks: Sequence[str], description: str | Path | None
) -> TableSettings:
    if description is None:
        return parse_settings(features, tasks) if tasks else TableSettings(tasks={})
    if features or tasks:
        raise ValueError(
            "Expected either a file of settings or --feature and --task. Received: both. Put "
            "everything into the file."
        )
    return read_settings(description)
