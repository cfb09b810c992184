"""Parallel text: sentences of one language, each with its translation, in three parts."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from moe_zoo.training.text.part_files import Files, find_files, split_off
from moe_zoo.training.text.text_lines import fingerprint_of, read_lines
from moe_zoo.validation import shown

TEST_SHARE, VALIDATION_SHARE = 0.05, 0.05  # of a text that has no such part
TAB_SEPARATED, EXAMPLE = "tsv", ".en and .de"


class Pair(NamedTuple):
    """One sentence, or more, and its translation."""

    source: str
    target: str


Pairs = tuple[Pair, ...]


@dataclass(frozen=True)
class ParallelText:
    """Pairs in three parts.

    Attributes:
        source: Language to translate from, such as `"en"`.
        target: Language to translate to.
        train: Pairs for training.
        validation: Pairs for validation.
        test: Pairs for the final evaluation.
    """

    source: str
    target: str
    train: Pairs
    validation: Pairs
    test: Pairs

    @cached_property
    def fingerprint(self) -> str:
        """Hash languages and pairs by SHA-256, in hexadecimal digits."""
        parts = (self.train, self.validation, self.test)
        fields = [self.source, self.target, *(str(len(part)) for part in parts)]
        return fingerprint_of([*fields, *(x for part in parts for pair in part for x in pair)])


def read_parallel_text(
    path: str | os.PathLike,
    source: str | None = None,
    target: str | None = None,
    test: str | None = None,
) -> ParallelText:
    """Read a folder of paired files, a folder of tab-separated files, or one such file.

    A folder has a training part, a test part, and optionally a validation part, whose file names
    begin with `train`, with `test`, and with `val` or `dev`. A part is either two files whose
    endings are the languages (`train.en` and `train.de`, as in Multi30k) or one file `train.tsv`
    with lines `sentence<TAB>translation`; text after a second tab is ignored. All files may be
    gzipped. Without a validation part, 5 percent of the training part become it. A single
    tab-separated file is split into 90, 5 and 5 percent, by a hash of the source sentence.

    Args:
        path: A folder, or a tab-separated file.
        source: Language to translate from. By default English, or else the first by name of the
            two languages that the file endings name.
        target: Language to translate to; by default the other one.
        test: Name of the test part if there are several, such as `"test_2016_flickr"`.

    Raises:
        FileNotFoundError: If a file or a part is missing.
        ValueError: If a sentence has no translation, if a file is empty or not UTF-8, if it is
            unclear which files belong together, or if `test` is given for a single file.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a folder of parallel text. Received: data={shown(str(path))}, which does "
            "not exist. Check the path."
        )
    if not path.is_dir():
        if test is not None:
            raise ValueError(
                f"Expected a folder with several test parts. Received: test={shown(test)} for "
                f"{shown(str(path))}, a single file, which is split. Leave --test out."
            )
        pairs = read_tab_separated(path)
        kept, tested = split_off(pairs, TEST_SHARE, "test", _source_of)
        train, validation = split_off(kept, VALIDATION_SHARE, "validation", _source_of)
        return ParallelText(source or "source", target or "target", train, validation, tested)
    files = find_files(path, f"{EXAMPLE}, or .{TAB_SEPARATED}", test, option="--test")
    source, target = find_languages(path, files, source, target)
    read = {
        part: read_tab_separated(found[TAB_SEPARATED])
        if TAB_SEPARATED in found
        else read_pair_of_files(found[source], found[target])
        for part, found in files.items()
    }
    if "validation" not in read:
        read["train"], read["validation"] = split_off(
            read["train"], VALIDATION_SHARE, "validation", _source_of
        )
    return ParallelText(source, target, **read)


def read_pair_of_files(source: Path, target: Path) -> Pairs:
    """Read the pairs of two files line by line, without lines that are empty in both."""
    lines = read_lines(source), read_lines(target)
    if len(lines[0]) != len(lines[1]):
        longer, shorter = (source, target) if len(lines[0]) > len(lines[1]) else (target, source)
        missing = min(map(len, lines)) + 1
        raise ValueError(
            f"Expected as many lines in both files. Received: {shown(str(source))} with "
            f"{len(lines[0]):,} and {shown(str(target))} with {len(lines[1]):,} lines: line "
            f"{missing} of {shown(longer.name)} has no counterpart in {shown(shorter.name)}. Look "
            "for the first line where they no longer belong together."
        )
    return _checked(zip(*lines, strict=True), (source, target))


def read_tab_separated(path: Path) -> Pairs:
    """Read the pairs of a file with lines `sentence<TAB>translation`."""
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        source, tab, rest = line.partition("\t")
        if not tab and line.strip():
            raise ValueError(
                f"Expected lines of a sentence, a tab and its translation. Received: "
                f"{shown(str(path))}, line {number}, without a tab: {line[:40]!r}. Add the "
                "translation."
            )
        pairs.append((source, rest.partition("\t")[0]))
    return _checked(pairs, (path, path))


def _checked(pairs: Iterable[tuple[str, str]], paths: tuple[Path, Path]) -> Pairs:
    checked = []
    for number, pair in enumerate(pairs, 1):
        source, target = map(str.strip, pair)
        if not source and not target:
            continue
        if not source or not target:
            with_text, without = (0, 1) if source else (1, 0)
            raise ValueError(
                "Expected a translation of every sentence. Received: "
                f"{shown(str(paths[without]))}, line {number}, which has none of "
                f"{pair[with_text].strip()[:40]!r}. Add it, or leave the sentence out."
            )
        checked.append(Pair(source, target))
    return tuple(checked)


def _source_of(pair: Pair) -> str:
    return pair.source


def find_languages(
    folder: Path, files: Files, source: str | None, target: str | None
) -> tuple[str, str]:
    """Find the languages to translate from and to, which every part must have.

    Raises:
        ValueError: If a part lacks one of them, or if there are more than two and none is given.
    """
    if all(TAB_SEPARATED in found for found in files.values()):
        return source or "source", target or "target"
    shared = sorted(set.intersection(*({*found} - {TAB_SEPARATED} for found in files.values())))
    left = [language for language in shared if language not in (source, target)]
    left.sort(key=lambda language: language != "en")
    wanted = [x for x in (source, target) if x is not None]
    if missing := [x for x in wanted if x not in shared]:
        raise ValueError(
            f"Expected files of the language in every part. Received: {shown(missing[0])}, with "
            f"{', '.join(shared) or 'no language'} in every part of {shown(str(folder))}. Choose "
            "one of these, or add the files."
        )
    open_places = 2 - len(wanted)
    if source == target is not None or (open_places and len(left) != open_places):
        raise ValueError(
            f"Expected two languages. Received: {', '.join(shared) or 'none'} in every part of "
            f"{shown(str(folder))}. Choose them with --source and --target."
        )
    rest = iter(left)
    return source or next(rest), target or next(rest)
