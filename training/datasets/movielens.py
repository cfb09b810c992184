"""Read MovieLens 100K and 1M: predict ratings, and whether a rating is a like."""

import functools
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moe_zoo.files import write_file
from moe_zoo.training.tables.column_settings import feature_settings
from moe_zoo.training.tables.columns import Column, ListColumn, NumberColumn, TextColumn
from moe_zoo.training.tables.csv_table import CsvTable, read_csv
from moe_zoo.training.tables.downloads import download, find_data, find_one
from moe_zoo.training.tables.label_columns import ThresholdLabel
from moe_zoo.training.tables.recommender_data import RecommenderData
from moe_zoo.training.tables.row_readers import SHARES, split_by_draws
from moe_zoo.training.tables.rows import Columns, Rows, join_rows
from moe_zoo.training.tables.table import Table
from moe_zoo.validation import check_names, shown

HOME = "https://files.grouplens.org/datasets/movielens/"
GENRES_100K = tuple(
    """unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy
    Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western""".split()
)
LIKE = 4.0
LARGEST_FILE = 2**27  # bytes, unpacked; the ratings of 1M have 25 million
TASKS = {"rating": {"kind": "regression"}, "like": {"kind": "binary"}}


@dataclass(frozen=True)
class Edition:
    """The files of one MovieLens data set.

    Attributes:
        folder: Name of its folder and its archive.
        ratings: File name, delimiter and columns of the ratings.
        users: File name, delimiter and columns of the users.
        items: File name, delimiter and columns of the items.
        age: Kind of the column `age`, which has seven groups in 1M.
        count: Number of ratings.
    """

    folder: str
    ratings: tuple[str, str, tuple[str, ...]]
    users: tuple[str, str, tuple[str, ...]]
    items: tuple[str, str, tuple[str, ...]]
    age: str
    count: int


EDITIONS = {
    "100k": Edition(
        folder="ml-100k",
        ratings=("u.data", "\t", ("user", "item", "rating", "time")),
        users=("u.user", "|", ("user", "age", "gender", "occupation", "zip_code")),
        items=("u.item", "|", ("item", "title", "release", "video", "url", *GENRES_100K)),
        age="number",
        count=100_000,
    ),
    "1m": Edition(
        folder="ml-1m",
        ratings=("ratings.dat", "::", ("user", "item", "rating", "time")),
        users=("users.dat", "::", ("user", "gender", "age", "occupation", "zip_code")),
        items=("movies.dat", "::", ("item", "title", "genres")),
        age="category",
        count=1_000_209,
    ),
}


def read_movielens(
    edition: str, path: str | os.PathLike | None = None, seed: int = 0
) -> RecommenderData:
    """Read MovieLens with the tasks `rating`, and `like`: a rating of 4 stars or more.

    The features are `user`, `item`, `age`, `gender`, `occupation` and the list `genres`. Each
    rating is assigned to a part at random, 70, 15 and 15 percent, so most users and films of the
    test part also occur in the training part.

    Args:
        edition: `"100k"` or `"1m"`.
        path: Folder of the files as GroupLens publishes them. By default `$MOE_ZOO_DATA/ml-100k`
            (or `ml-1m`) or the same folder of `~/.cache/moe_zoo`, to which missing files are
            downloaded. GroupLens' README has their license.
        seed: Seed of the split.

    Returns:
        `RecommenderData`.

    Raises:
        ConnectionError: If a file is missing and cannot be downloaded.
        FileNotFoundError: If `path` lacks one of the files.
        ValueError: If `edition` is unknown, or if a file has other contents.

    Reference: Harper and Konstan, "The MovieLens Datasets: History and Context", 2015.
    """
    check_names([edition], EDITIONS, "editions of MovieLens")
    files = EDITIONS[edition]
    folder = find_data(files.folder, path)
    names = [name for name, _, _ in (files.ratings, files.users, files.items)]
    if path is None and not all(find_one(folder, [name]) for name in names):
        _download(files, folder, names)
    for name in names:
        if find_one(folder, [name]) is None:
            raise FileNotFoundError(
                f"Expected {', '.join(names)}. Received: path={shown(str(folder))} without {name}. "
                f"Unpack {HOME}{files.folder}.zip and give its folder."
            )
    kinds = {"user": "category", "item": "category", "age": files.age}
    kinds |= {"gender": "category", "occupation": "category", "genres": "list"}
    return RecommenderData(
        features={name: feature_settings(name, kind)[1] for name, kind in kinds.items()},
        tasks=TASKS,
        read=split_by_draws(functools.partial(_join_tables, files, folder), seed, SHARES),
        description=f"MovieLens {edition}, own split by draws of seed {seed}: 70/15/15 percent",
    )


def _join_tables(files: Edition, folder: Path) -> Iterator[Rows]:
    """Yield the ratings joined with the columns of their user and item."""
    age = (NumberColumn if files.age == "number" else TextColumn)("age")
    users = LookUp(
        _open(folder, files.users),
        "user",
        {"age": age, "gender": TextColumn("gender"), "occupation": TextColumn("occupation")},
    )
    items = LookUp(_open(folder, files.items), "item", _genre_columns(files))
    ratings = _open(folder, files.ratings).batches(
        {
            "user": TextColumn("user"),
            "item": TextColumn("item"),
            "rating": NumberColumn("rating", minimum=0.5, maximum=5.0),
            "like": ThresholdLabel("rating", at_least=LIKE),
        }
    )
    for batch in ratings:
        about_item = items.of(batch["item"])
        genres = about_item.get("genres")
        if genres is None:
            genres = _genre_lists(about_item)
        yield Rows(
            {
                "user": batch["user"],
                "item": batch["item"],
                **users.of(batch["user"]),
                "genres": genres,
            },
            {"rating": batch["rating"], "like": batch["like"]},
        )


def _open(folder: Path, file: tuple[str, str, tuple[str, ...]]) -> CsvTable:
    name, delimiter, columns = file
    return read_csv(folder / name, columns, delimiter, quote=None, encoding="latin-1")


def _genre_columns(files: Edition) -> dict[str, Column]:
    if "genres" in files.items[2]:
        return {"genres": ListColumn("genres", "|")}
    return {genre: NumberColumn(genre) for genre in GENRES_100K}


def _genre_lists(flags: Columns) -> np.ndarray:
    """Return lists of genres from a column of 0 and 1 for each genre."""
    table = np.stack([flags[genre] for genre in GENRES_100K], axis=1) == 1
    names = ["|".join(np.array(GENRES_100K)[row]) for row in table]
    return ListColumn("genres", "|").parse(names)


def _download(files: Edition, folder: Path, names: list[str]) -> None:
    url = f"{HOME}{files.folder}.zip"
    check = functools.partial(_check_archive, files)
    archive = download(url, folder.parent / f"{files.folder}.zip", check=check)
    with zipfile.ZipFile(archive) as packed:
        for name in (*names, "README"):
            if f"{files.folder}/{name}" in packed.namelist():
                write_file(folder / name, packed.read(f"{files.folder}/{name}"))
    archive.unlink()


def _check_archive(files: Edition, path: Path) -> None:
    """Check the archive's checksums and the number of ratings, since no SHA-256 is published."""
    member = f"{files.folder}/{files.ratings[0]}"
    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {info.filename: info.file_size for info in packed.infolist()}
            if large := {name: size for name, size in sizes.items() if size > LARGEST_FILE}:
                raise ValueError(
                    f"Expected files of at most {LARGEST_FILE:,} bytes in the archive. Received: "
                    f"{shown(large)}. Try the download again."
                )
            broken = packed.testzip()
            with packed.open(member) as file:
                count = sum(1 for _ in file)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"Expected a zip archive with {member}. Received: {error}. Try the download again."
        ) from error
    if broken or count != files.count:
        raise ValueError(
            f"Expected {files.count:,} ratings in {member}. Received: {count:,}, broken: {broken}. "
            "Try the download again."
        )


class LookUp:
    r"""Looks up rows of a table by their key.

    Args:
        table: Table of one file, which has to fit in memory.
        key: Column to look up by.
        columns: Columns to look up.

    Example:

    >>> from pathlib import Path
    >>> from moe_zoo.training.tables.csv_table import read_csv
    >>> _ = Path("users.csv").write_text("user,city\n7,Rome\n8,Bonn\n")
    >>> users = LookUp(read_csv("users.csv"), "user", {"city": TextColumn("city")})
    >>> users.of(np.array(["8", "7", "8"]))
    {'city': array(['Bonn', 'Rome', 'Bonn'], dtype=object)}
    """

    def __init__(self, table: Table, key: str, columns: Mapping[str, Column]):
        batches = table.batches({"key": TextColumn(key), **columns})
        self._columns, _ = join_rows(Rows(batch, {}) for batch in batches)
        self._file, self._key = table.paths[0], key
        self._places = {name: place for place, name in enumerate(self._columns.pop("key"))}

    def of(self, keys: np.ndarray) -> Columns:
        """Return the columns of some keys.

        Args:
            keys: Keys, an array of strings.

        Returns:
            An array for each column, with a row for each key.

        Raises:
            ValueError: If the table has no row for a key.
        """
        try:
            places = [self._places[key] for key in keys]
        except KeyError as error:
            raise ValueError(
                f"Expected a row for each {self._key} in {self._file}. Received: "
                f"{self._key}={shown(error.args[0])} without one. Check that the files belong "
                "together."
            ) from None
        return {name: values[places] for name, values in self._columns.items()}
