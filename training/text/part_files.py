"""Which files of a folder hold which part of a text."""

from pathlib import Path

from moe_zoo.validation import shown

from .text_lines import share_of

PARTS = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}
Files = dict[str, dict[str, Path]]


def find_files(
    folder: Path, example: str, test: str | None = None, option: str | None = None
) -> Files:
    """Files by part, and by what their names end in: `{"train": {"en": path, "de": path}}`.

    A part is what begins with `train`, `test`, and `val` or `dev`. The `.gz` of a gzipped file is
    no part of its ending.

    Args:
        folder: Where they lie.
        example: Endings that a part should have, for messages.
        test: Name of the test part, where there are several.
        option: What the user names it by, for messages.

    Raises:
        FileNotFoundError: If there is no training or no test part.
        ValueError: If there are several parts of a kind.
    """
    names: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        name, dot, ending = path.name.removesuffix(".gz").rpartition(".")
        if dot and path.is_file() and any(map(name.startswith, sum(PARTS.values(), ()))):
            names.setdefault(name, {})[ending] = path
    found: Files = {}
    for part, beginnings in PARTS.items():
        candidates = [name for name in names if name.startswith(beginnings)]
        if part == "test" and test is not None:
            candidates = [name for name in candidates if name == test]
        if len(candidates) > 1:
            named = part == "test" and option
            advice = f"Name one with {option}" if named else "Keep one of them there"
            raise ValueError(
                f"Expected one {part} part in a folder. Received: {shown(str(folder))} with "
                f"{', '.join(candidates)}. {advice}."
            )
        if candidates:
            found[part] = names[candidates[0]]
        elif part != "validation":
            wanted = test if part == "test" and test else beginnings[0]
            raise FileNotFoundError(
                f"Expected a {part} part: {wanted}{example}, gzipped or not. Received: "
                f"{shown(str(folder))} without it. Add it, or give a single file, which is split."
            )
    return found


def split_off(texts, share, part, key):
    """Splits a part off, by a hash of what the texts are known by.

    Args:
        texts: What is split.
        share: Size of the part, about.
        part: Its name.
        key: Function from a text to the string that decides; texts with equal ones stay together.

    Returns:
        What stays, and the part, as tuples.

    Raises:
        ValueError: If one of them is empty.
    """
    parts: tuple[list, list] = ([], [])
    for text in texts:
        parts[share_of(f"{part}:{key(text)}") < share].append(text)
    if not all(parts):
        raise ValueError(
            f"Expected enough text to split off a {part} part. Received: {len(texts)} texts. Give "
            f"more, or a {part} part of their own."
        )
    return tuple(parts[0]), tuple(parts[1])
