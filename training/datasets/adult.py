"""UCI Adult: income, and never having married."""

import os

from moe_zoo.training.tables.csv_table import CsvTable, read_csv
from moe_zoo.training.tables.downloads import download, find_data, find_one
from moe_zoo.training.tables.recommender_data import RecommenderData
from moe_zoo.training.tables.row_readers import chain_readers, split_by_draws, split_by_files
from moe_zoo.training.tables.table_columns import TableColumns
from moe_zoo.validation import shown

NAME = "adult"
HOME = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"
SHA256 = {
    "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}
COLUMNS = tuple(
    """age workclass fnlwgt education education_num marital_status occupation relationship race
    sex capital_gain capital_loss hours_per_week native_country income""".split()
)
# Relationship says husband or wife, which is the second label but for a few; fnlwgt says how many
# people a row stands for.
NO_INPUTS = ("marital_status", "relationship", "fnlwgt", "income")
NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
TASKS = {
    "income": {"kind": "binary", "column": "income", "positive": [">50K", ">50K."]},
    "never_married": {"kind": "binary", "column": "marital_status", "positive": ["Never-married"]},
}
DRAWN = {"train": 0.9, "validation": 0.1}


def read_adult(path: str | os.PathLike | None = None, seed: int = 0) -> RecommenderData:
    """Read UCI Adult: income above 50,000 and never having married, in the official split.

    The test part is UCI's test file, the validation part a tenth of the training file, by draws. 11
    features: marital status is a label, relationship gives it away (husband, wife), `fnlwgt` is a
    sampling weight. `?` is a missing value.

    Args:
        path: Folder of `adult.data` and `adult.test`. By default they lie in `$MOE_ZOO_DATA/adult`
            or `~/.cache/moe_zoo/adult`, and are downloaded to it if they are not there.
        seed: Of the draws.

    Returns:
        `RecommenderData`.

    Raises:
        ConnectionError: If the files are not there and cannot be fetched.
        FileNotFoundError: If `path` does not hold them.
        ValueError: If a file is not what it should be.
    """
    folder = find_data(NAME, path)
    for name, sha256 in SHA256.items():
        if path is None:
            download(HOME + name, folder / name, sha256)
        if find_one(folder, [name]) is None:
            raise FileNotFoundError(
                f"Expected {' and '.join(SHA256)}. Received: path={shown(str(folder))} without "
                f"{name}. Give the folder of the files, or fetch them from {HOME}."
            )
    kinds = {
        name: "number" if name in NUMBERS else "category"
        for name in COLUMNS
        if name not in NO_INPUTS
    }
    columns = TableColumns(kinds, TASKS)
    train, test = (columns.stream(open_adult(folder / name)) for name in SHA256)
    read = chain_readers(
        (tuple(DRAWN), split_by_draws(train, seed, DRAWN)),
        (("test",), split_by_files({"test": test})),
    )
    description = "adult, UCI's training file (validation: a tenth of it, by draws of seed "
    return columns.data(read, f"{description}{seed}) and its test file")


def open_adult(path: str | os.PathLike) -> CsvTable:
    """Open one of the files as a table of 15 columns; the first line of `adult.test` is no row."""
    with open(path, encoding="utf-8") as file:
        skip_lines = int(file.readline().startswith("|"))
    return read_csv(
        path, columns=COLUMNS, strip=True, missing=("?",), skip_lines=skip_lines, quote=None
    )
