"""Read the IMDB reviews of `keras.datasets.imdb` from its files as text."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from moe_zoo.training.text.part_files import split_off
from moe_zoo.validation import shown

from .labelled_text import VALIDATION_SHARE, Example, LabelledText, text_of

REVIEWS, WORDS = "imdb.npz", "imdb_word_index.json"
LABELS = ("negative", "positive")
LARGEST_FILE = 2**27  # bytes, unpacked; Keras' own have 20 million
HARMLESS = {
    "_reconstruct": np.empty(0).__reduce__()[0],  # what pickles of arrays call
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}


def read_imdb(folder: str | os.PathLike) -> LabelledText:
    """Read the reviews as lower-case words: 25,000 for training and 25,000 for the test.

    `keras.datasets.imdb.load_data()` and `get_word_index()` download the two files to
    `~/.keras/datasets`. The file numbers words by frequency, from 1; `load_data` adds 3 to the
    numbers, and this function does not.

    Args:
        folder: Folder of `imdb.npz` and `imdb_word_index.json`.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If one of the files cannot be read.
    """
    folder = Path(folder).expanduser()
    missing = [name for name in (REVIEWS, WORDS) if not (folder / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"Expected {REVIEWS} and {WORDS}. Received: path={shown(str(folder))}, without "
            f"{' and '.join(missing)}. Let keras.datasets.imdb.load_data() and get_word_index() "
            "download them to ~/.keras/datasets, and give that folder."
        )
    try:
        _check_size(WORDS, (folder / WORDS).stat().st_size)
        index = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        words = {number: word for word, number in index.items()}
        with zipfile.ZipFile(folder / REVIEWS) as archive:
            parts = {part: _read_part(archive, part, words) for part in ("train", "test")}
    except Exception as error:  # a damaged file may raise any error
        raise ValueError(
            f"Expected {REVIEWS} and {WORDS} as Keras downloads them. Received: "
            f"path={shown(str(folder))}, where they cannot be read: {error}. Download them again."
        ) from error
    train, validation = split_off(parts["train"], VALIDATION_SHARE, "validation", text_of)
    return LabelledText(train, validation, parts["test"])


def _read_part(archive: zipfile.ZipFile, part: str, words: dict[int, str]) -> tuple[Example, ...]:
    reviews, labels = (_read_array(archive, f"{name}_{part}.npy") for name in "xy")
    return tuple(
        Example(LABELS[label], " ".join(words[number] for number in review))
        for review, label in zip(reviews, labels, strict=True)
    )


def _check_size(name: str, size: int) -> None:
    """Refuse a file that would fill the memory; a few bytes of a zip archive may unpack to one."""
    if size > LARGEST_FILE:
        raise ValueError(f"{name} has {size:,} bytes, more than {LARGEST_FILE:,}")


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read an array of numbers, or of lists of numbers, which NumPy stores as a pickle."""
    _check_size(name, archive.getinfo(name).file_size)
    data = archive.read(name)  # no more than it says
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    _, _, dtype = read_header[version[0]](file)
    if dtype.hasobject:
        return _ArrayUnpickler(file).load()
    return np.lib.format.read_array(io.BytesIO(data))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads an array of lists, and refuses other pickles, which could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        """Find one of the harmless functions and classes."""
        if module.split(".")[0] == "numpy" and name in HARMLESS:
            return HARMLESS[name]
        raise pickle.UnpicklingError(f"an array of lists does not need {module}.{name}")
