"""YAML files of names and plain values, limited in size and depth."""

import re
from pathlib import Path
from typing import Any

from moe_zoo.validation import one_line, shown

LARGEST = 1_000_000  # bytes
DEEPEST = 20
MOST_EVENTS = 100_000  # some seconds; a column with three options has eight
DECIMAL = re.compile(
    r"[-+]?(?:0|[1-9][0-9]*)|[-+]?[0-9]*\.[0-9]*(?:e[-+][0-9]+)?|[-+]?\.(?:inf|nan)", re.I
)
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(path: Path) -> object:
    r"""Return the value of a YAML file in UTF-8. It needs PyYAML.

    Aliases are refused, since a few bytes of them can stand for more values than memory holds. So
    are tags, which change the type of a value, and numbers that YAML reads in another base, such as
    the time 12:30 (as 750) and the code 01234 (as 668).

    Args:
        path: Path of the file.

    Raises:
        ImportError: If PyYAML is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If the file is larger than 1 MB, is not text or not YAML, has too many values or
            levels, an alias, a tag, a name twice, a name that is not text, or a number that is not
            written in decimal digits.

    Example:

    >>> _ = Path("films.yaml").write_text("age: number\ngenres: {kind: list}\n")
    >>> read_yaml(Path("films.yaml"))
    {'age': 'number', 'genres': {'kind': 'list'}}
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "Expected PyYAML, which reads settings. Received: an environment without it. Install "
            "it with `pip install pyyaml`, or give --feature and --task in place of the file."
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a YAML file. Received: path={shown(str(path))}, which is no file. Check the "
            "path."
        )
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(
            f"Expected a YAML file of at most {LARGEST:,} bytes. Received: {shown(str(path))}, "
            "which is larger. Is it the table itself? Settings are a line for each column."
        )
    try:
        text = data.decode("utf-8-sig")
        _check_events(yaml, text)
        return _plain(yaml.compose(text, yaml.SafeLoader), yaml.SafeLoader(""))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = one_line(error, most=300)
    raise ValueError(
        f"Expected YAML in {path}. Received: {reason}. Look at the line that it names."
    )


def _check_events(yaml: Any, text: str) -> None:
    """Refuse content that takes PyYAML hours to read, and content that settings do not need."""
    depth = 0
    for number, event in enumerate(yaml.parse(text)):
        line = event.start_mark.line + 1
        if number == MOST_EVENTS:
            raise ValueError(f"more than {MOST_EVENTS:,} names, values and brackets by line {line}")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} lists or names in each other in line {line}")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(
                f"the alias *{event.anchor[:40]} in line {line}, in place of which its values have "
                "to be written"
            )
        if tag := getattr(event, "tag", None):
            raise ValueError(f"the tag {shown(tag, 60)} in line {line}; a text has quotes instead")


def _plain(node: Any, loader: Any) -> Any:
    """Return the value of a node, whose names are unique texts."""
    if node is None:
        return None
    if node.tag == "tag:yaml.org,2002:seq":
        return [_plain(value, loader) for value in node.value]
    if node.tag != "tag:yaml.org,2002:map":
        return _scalar(node, loader)
    found: dict = {}
    for key, value in node.value:
        name, line = _plain(key, loader), key.start_mark.line + 1
        if not isinstance(name, str):
            raise ValueError(f"the name {shown(name, 60)} in line {line}, which needs quotes")
        if name in found:
            raise ValueError(f"the name {shown(name, 60)} twice, the second time in line {line}")
        found[name] = _plain(value, loader)
    return found


def _scalar(node: Any, loader: Any) -> Any:
    """Return the value of a text, number, date or truth value."""
    if node.tag in NUMBERS and not DECIMAL.fullmatch(node.value):
        raise ValueError(
            f"the number {shown(node.value, 60)} in line {node.start_mark.line + 1}, which is not "
            "written in decimal digits; a text has quotes"
        )
    return loader.construct_object(node)
