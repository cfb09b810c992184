"""Read labelled texts in three parts."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from moe_zoo.training.tables.bounded_lines import LONGEST_LINE
from moe_zoo.training.tables.text_rows import CountedLines, longest_field, row_error, split_lines
from moe_zoo.training.text.part_files import find_files, split_off
from moe_zoo.training.text.text_lines import fingerprint_of, read_lines
from moe_zoo.validation import shorten, shown

TEST_SHARE, VALIDATION_SHARE = 0.1, 0.1  # of a text that has no such part
DELIMITERS = {"tsv": "\t", "csv": ","}
HEADER = ["label", "text"]


class Example(NamedTuple):
    """A text and its label."""

    label: str
    text: str


Examples = tuple[Example, ...]


@dataclass(frozen=True)
class LabelledText:
    """Examples in three parts.

    Attributes:
        train: Examples for training.
        validation: Examples for validation.
        test: Examples for the final evaluation.
    """

    train: Examples
    validation: Examples
    test: Examples

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(
                f"Expected two labels or more. Received: {shorten(self.labels)} alone in the "
                "training part. Give examples of others."
            )
        known = set(self.labels)
        for part in ("validation", "test"):
            for example in getattr(self, part):
                if example.label not in known:
                    raise ValueError(
                        f"Expected labels of the training part. Received: {shown(example.label)} "
                        f"in the {part} part alone. Add examples of it to the training part."
                    )

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({example.label for example in self.train}))

    @cached_property
    def fingerprint(self) -> str:
        """Hash all parts by SHA-256, in hexadecimal digits."""
        parts = (self.train, self.validation, self.test)
        sizes = [str(len(part)) for part in parts]
        return fingerprint_of([*sizes, *(x for part in parts for each in part for x in each)])


def read_labelled_text(path: str | os.PathLike) -> LabelledText:
    """Read a file of lines `label<TAB>text` or `label,text`, or a folder of such files.

    File names end in `.tsv` or `.csv`, gzipped or not. Fields of `.csv` files may be quoted. A
    first line `label`, `text` is a header. A folder has a file `train`, a file `test`, and
    optionally a file `val` or `dev`; without one, 10 percent of the training part become it. A
    single file is split into about 80, 10 and 10 percent, by a hash of the text.

    Args:
        path: Path of the file or folder.

    Raises:
        FileNotFoundError: If a file or a part is missing.
        ValueError: If a line has another form, if a file is empty or not UTF-8, or if there are
            fewer than two labels.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            "Expected a file of labelled text, or a folder of such. Received: "
            f"data={shown(str(path))}, which does not exist. Check the path, or leave it out for "
            "docstrings."
        )
    if not path.is_dir():
        kept, test = split_off(read_examples(path), TEST_SHARE, "test", text_of)
        train, validation = split_off(kept, VALIDATION_SHARE, "validation", text_of)
        return LabelledText(train, validation, test)
    files = find_files(path, ".tsv or .csv")
    parts = {part: read_examples(_only(path, part, found)) for part, found in files.items()}
    if "validation" not in parts:
        parts["train"], parts["validation"] = split_off(
            parts["train"], VALIDATION_SHARE, "validation", text_of
        )
    return LabelledText(**parts)


def read_examples(path: Path) -> Examples:
    """Read the examples of one file."""
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending not in DELIMITERS:
        raise ValueError(
            "Expected a file that ends in .tsv or .csv, gzipped or not. Received: "
            f"{shown(str(path))}. Rename or convert it."
        )
    lines = CountedLines(line + "\n" for line in read_lines(path))
    rows = split_lines(lines, DELIMITERS[ending], '"' if ending == "csv" else None)
    examples, first = [], 1
    with longest_field(LONGEST_LINE):  # texts are as long as they are
        try:
            for fields in rows:
                if fields and [field.strip() for field in fields] != HEADER:
                    examples.append(_example(fields, path, first))
                first = lines.count + 1
        except csv.Error as error:
            raise row_error(error, path, first) from error
    return tuple(examples)


def text_of(example: Example) -> str:
    """Return the text of an example, whose hash decides its part."""
    return example.text


def _example(fields: Sequence[str], path: Path, number: int) -> Example:
    stripped = [field.strip() for field in fields]
    if len(fields) != len(HEADER) or not all(stripped):
        raise ValueError(
            f"Expected a label and a text in each line. Received: {shown(str(path))}, line "
            f"{number}, with {len(fields)} fields: {' | '.join(fields)[:40]!r}. Quote a text with "
            "commas, or use tabs."
        )
    return Example(*stripped)


def _only(folder: Path, part: str, files: dict[str, Path]) -> Path:
    usable = [path for ending, path in files.items() if ending in DELIMITERS]
    if len(usable) != 1:
        raise ValueError(
            f"Expected one file for the {part} part, which ends in .tsv or .csv. Received: "
            f"{shown(str(folder))} with {', '.join(x.name for x in files.values())}. Keep one of "
            "them there."
        )
    return usable[0]
