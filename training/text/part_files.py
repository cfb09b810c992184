"""Find the files of each part of a text in a folder, and split parts off."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from moe_zoo.validation import shown

from .text_lines import share_of

PARTS = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}
Files = dict[str, dict[str, Path]]
Text = TypeVar("Text")


def find_files(
    folder: Path, example: str, test: str | None = None, option: str | None = None
) -> Files:
    """Find files by part and by the ending of their names: `{"train": {"en": path, "de": path}}`.

    The names of a part begin with `train`, with `test`, or with `val` or `dev`. The `.gz` of a
    gzipped file does not count as its ending.

    Args:
        folder: Folder of the files.
        example: Endings that a part should have, for error messages.
        test: Name of the test part, if there are several.
        option: Option of the command that names the test part, for error messages.

    Raises:
        FileNotFoundError: If there is no training or no test part.
        ValueError: If there are several parts of a kind.
    """
    names: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        name, dot, ending = path.name.removesuffix(".gz").rpartition(".")
        if dot and path.is_file() and any(map(name.startswith, sum(PARTS.values(), ()))):
            names.setdefault(name, {})[ending] = path
    parts: Files = {}
    for part, beginnings in PARTS.items():
        candidates = [name for name in names if name.startswith(beginnings)]
        if part == "test" and test is not None:
            candidates = [name for name in candidates if name == test]
        if len(candidates) > 1:
            has_option = part == "test" and option
            advice = f"Choose one with {option}" if has_option else "Keep only one of them"
            raise ValueError(
                f"Expected one {part} part in a folder. Received: {shown(str(folder))} with "
                f"{', '.join(candidates)}. {advice}."
            )
        if candidates:
            parts[part] = names[candidates[0]]
        elif part != "validation":
            wanted = test if part == "test" and test else beginnings[0]
            raise FileNotFoundError(
                f"Expected a {part} part: {wanted}{example}, gzipped or not. Received: "
                f"{shown(str(folder))} without it. Add it, or give a single file, which is split."
            )
    return parts


def split_off(
    texts: Sequence[Text], share: float, part: str, key: Callable[[Text], str]
) -> tuple[tuple[Text, ...], tuple[Text, ...]]:
    """Split a part off by a hash of each text's key.

    Args:
        texts: Texts to split.
        share: Approximate fraction of the texts in the part.
        part: Name of the part.
        key: Function from a text to its key; texts with equal keys stay together.

    Returns:
        The remaining texts, and the part.

    Raises:
        ValueError: If one of the two is empty.
    """
    parts: tuple[list[Text], list[Text]] = ([], [])
    for text in texts:
        parts[share_of(f"{part}:{key(text)}") < share].append(text)
    if not all(parts):
        raise ValueError(
            f"Expected enough text to split off a {part} part. Received: {len(texts)} texts. Give "
            f"more, or give a separate {part} part."
        )
    return tuple(parts[0]), tuple(parts[1])
