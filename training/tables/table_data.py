"""A user's own table as data for recommenders."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moe_zoo.terminal import show_text
from moe_zoo.validation import check_names, shown

from .csv_table import SUFFIXES as CSV_SUFFIXES
from .csv_table import csv_table
from .infer_kinds import infer_kinds
from .parquet_table import SUFFIXES as PARQUET_SUFFIXES
from .parquet_table import ParquetTable
from .recommender_data import PARTS, Reader, RecommenderData
from .row_readers import SHARES, Stream, chain_readers, split_by_draws, split_by_files
from .table import Table, find_files
from .table_columns import TableColumns
from .table_settings import TableSettings

Paths = str | os.PathLike | Sequence[str | os.PathLike]


def open_table(path: Paths, format: Mapping[str, Any] | None = None) -> Table:
    r"""Open a table in files: Parquet if their suffix says so, else text.

    Args:
        path: A file, several, or a folder of them.
        format: Arguments of `read_csv` by name.

    Returns:
        `Table`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a format is given for Parquet files.

    Example:

    >>> from pathlib import Path
    >>> _ = Path("t.csv").write_text("a,b\n1,2\n")
    >>> table = open_table("t.csv")
    >>> table.names(table.paths[0])
    ['a', 'b']
    """
    files = find_files(path, (*PARQUET_SUFFIXES, *CSV_SUFFIXES))
    if not files[0].name.endswith(PARQUET_SUFFIXES):
        return csv_table(files, format or {})
    if format:
        raise ValueError(
            "Expected no format for Parquet files, which know theirs. Received: "
            f"format={shown(format)} for {files[0]}. Leave it out."
        )
    return ParquetTable(files)


def read_table_data(
    path: Paths,
    settings: TableSettings,
    seed: int = 0,
    part_paths: dict[str, Paths] | None = None,
    say: Callable[[str], None] = show_text,
) -> RecommenderData:
    r"""Read features and labels from a user's table.

    Args:
        path: Files of all parts or, with `part_paths`, of the training part.
        settings: Features and tasks. Without features their kinds are inferred.
        seed: Seed of the draws that split the rows.
        part_paths: Files of the `"validation"` and `"test"` parts, if they are split already. With
            only a test part the validation part is drawn from `path`.
        say: Function that takes a line of text for the user: the kinds that were inferred.

    Returns:
        `RecommenderData`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the table does not fit the settings.

    Example:

    >>> from pathlib import Path
    >>> _ = Path("t.csv").write_text("age,city,click" + "\n3,Rome,1" * 100)
    >>> data = read_table_data("t.csv", TableSettings(tasks={"click": "binary"}))
    t.csv: kinds by its first rows: age:number city:category
    >>> data.description
    't.csv, split by draws of seed 0: train 70%, validation 15%, test 15%'
    """
    table = open_table(path, settings.format)
    kinds = settings.features
    if not kinds:
        sources = TableColumns({}, settings.tasks).labels.values()
        labels = [*settings.tasks, *(column.source for column in sources)]
        kinds, left_out = infer_kinds(table, labels)
        inferred = " ".join(f"{name}:{feature['kind']}" for name, feature in kinds.items())
        left = ", ".join(f"{name} ({why})" for name, why in left_out.items())
        left = left and f"; left out: {left}"
        say(f"{_names(path)}: kinds by its first rows: {inferred}{left}")
    columns = TableColumns(kinds, settings.tasks, table.type_of)
    streams = {"train": columns.stream(table)}
    for part, files in (part_paths or {}).items():
        check_names([part], PARTS[1:], "parts with files of their own")
        table_of_part = open_table(files, settings.format)
        columns.check_same(TableColumns(kinds, settings.tasks, table_of_part.type_of))
        streams[part] = columns.stream(table_of_part)
    read, how = _split(streams, settings, seed)
    return columns.data(read, f"{_names(path)}, {how}")


def _split(streams: Mapping[str, Stream], settings: TableSettings, seed: int) -> tuple[Reader, str]:
    """Return a reader of the three parts, and a description of the split."""
    if len(streams) == len(PARTS):
        return split_by_files(streams), "split by files"
    shares = dict(SHARES if settings.shares is None else settings.shares)
    check_names(shares, PARTS, "parts")
    ready = {part: stream for part, stream in streams.items() if part != "train"}
    drawn = {part: shares.get(part, 0.0) for part in PARTS if part not in ready}
    if ready:  # what the parts with files would have had goes to the others
        total = sum(drawn.values()) or 1.0
        drawn = {part: share / total for part, share in drawn.items()}
    by_draws = split_by_draws(streams["train"], seed, drawn)
    read = chain_readers((tuple(drawn), by_draws), (tuple(ready), split_by_files(ready)))
    parts = ", ".join(f"{part} {share:.0%}" for part, share in drawn.items())
    files = f"; {', '.join(ready)} from files of its own" if ready else ""
    return read, f"split by draws of seed {seed}: {parts}{files}"


def _names(path: Paths) -> str:
    if isinstance(path, str | os.PathLike):
        return str(path)
    return f"{path[0]} and {len(path) - 1} more" if len(path) > 1 else str(path[0])
