"""Read UCI Adult: predict the income, and who has never married."""

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
# The relationship (husband, wife) is nearly the second label; fnlwgt is the number of people that a
# row represents.
NO_INPUTS = ("marital_status", "relationship", "fnlwgt", "income")
NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
TASKS = {
    "income": {"kind": "binary", "column": "income", "positive": [">50K", ">50K."]},
    "never_married": {"kind": "binary", "column": "marital_status", "positive": ["Never-married"]},
}
DRAWN = {"train": 0.9, "validation": 0.1}


def read_adult(path: str | os.PathLike | None = None, seed: int = 0) -> RecommenderData:
    """Read UCI Adult in its official split, with the tasks `income` and `never_married`.

    The tasks are an income above 50,000, and never having married. The test part is UCI's test
    file, the validation part a random tenth of the training file. The 11 features leave out the
    marital status, which is a label, the relationship (husband, wife), which reveals it, and the
    sampling weight `fnlwgt`. `?` is a missing value.

    Args:
        path: Folder of `adult.data` and `adult.test`. By default `$MOE_ZOO_DATA/adult` or
            `~/.cache/moe_zoo/adult`, to which missing files are downloaded.
        seed: Seed of the split.

    Returns:
        `RecommenderData`.

    Raises:
        ConnectionError: If a file is missing and cannot be downloaded.
        FileNotFoundError: If `path` lacks one of the files.
        ValueError: If a file has other contents.
    """
    folder = find_data(NAME, path)
    for name, sha256 in SHA256.items():
        if path is None:
            download(HOME + name, folder / name, sha256)
        if find_one(folder, [name]) is None:
            raise FileNotFoundError(
                f"Expected {' and '.join(SHA256)}. Received: path={shown(str(folder))} without "
                f"{name}. Give the folder of the files, or download them from {HOME}."
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
    """Open one of the files as a table of 15 columns, without the first line of `adult.test`."""
    with open(path, encoding="utf-8") as file:
        skip_lines = int(file.readline().startswith("|"))
    return read_csv(
        path, columns=COLUMNS, strip=True, missing=("?",), skip_lines=skip_lines, quote=None
    )
