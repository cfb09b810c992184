"""Settings of a user's own table, from a YAML file or the command line."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moe_zoo.validation import check_names, check_share, shown

from .column_settings import FEATURE_KINDS, TASK_KINDS, feature_settings, task_settings
from .option_checks import FORMAT_CHECKS, check_options
from .yaml_file import read_yaml

KEYS = ("features", "tasks", "format", "shares")


@dataclass(frozen=True)
class TableSettings:
    """Features and tasks of a table, and the format of its files.

    Args:
        tasks: Kind of each task, or a `dict` as `task_settings` takes it.
        features: Kind of each feature, or a `dict` as `feature_settings` takes it. If empty, the
            kinds of all columns that are not labels are inferred.
        format: Arguments of `read_csv`.
        shares: Share of each part, if the table is split by draws.

    Raises:
        ValueError: If a name or value is unknown, there is no task, or a feature is a label.

    Example:

    >>> TableSettings(tasks={"click": "binary"}, features={"age": "nunber"})
    Traceback (most recent call last):
    ValueError: Expected kinds of a feature out of buckets, category, hashed, list, number.
    Received: 'nunber'. Did you mean 'number'?
    """

    tasks: Mapping[str, str | Mapping]
    features: Mapping[str, str | Mapping] = field(default_factory=dict)
    format: Mapping = field(default_factory=dict)
    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(
                "Expected a task or more. Received: tasks={}. Name the columns of the labels, for "
                "example --task click:binary."
            )
        check_names(self.format, FORMAT_CHECKS, "options of the format")
        check_options(self.format, FORMAT_CHECKS, "the format")
        for part, share in (self.shares or {}).items():
            check_share(f"shares of {shown(part)}", share)
        labels = [task_settings(name, task)[0].source for name, task in self.tasks.items()]
        for name, feature in self.features.items():
            source = feature_settings(name, feature)[0].source
            if source in labels or name in self.tasks:
                raise ValueError(
                    f"Expected features that are no labels. Received: feature {shown(name)} of "
                    f"column {shown(source)}, which a task has too. Leave it out: the model would "
                    "read the label off."
                )


def read_settings(path: str | os.PathLike) -> TableSettings:
    r"""Read the settings in a YAML file. It needs PyYAML.

    Args:
        path: A file with the keys `tasks` and optionally `features`, `format` and `shares`: the
            arguments of `TableSettings`.

    Returns:
        `TableSettings`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If PyYAML is not installed.
        ValueError: If the file is not YAML, or a name or value is unknown.

    Example:

    >>> _ = Path("films.yaml").write_text(
    ...     "features:\n  age: number\n  genres: {kind: list, separator: ','}\n"
    ...     "tasks:\n  like: {kind: binary, column: rating, at_least: 4}\n")
    >>> read_settings("films.yaml").features
    {'age': 'number', 'genres': {'kind': 'list', 'separator': ','}}
    """
    settings = read_yaml(Path(path).expanduser())
    if not isinstance(settings, dict):
        raise ValueError(
            f"Expected the keys {', '.join(KEYS)} in {path}. Received: {shown(settings)}. Write at "
            "least `tasks:`, with a line for each."
        )
    check_names(settings, KEYS, f"keys in {path}")
    for key, value in settings.items():
        if value is not None and not isinstance(value, dict):
            raise ValueError(
                f"Expected names with values under {shown(key)} in {path}. Received: "
                f"{shown(value)}. Write one `name: value` a line, further in."
            )
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        return TableSettings(**{"tasks": {}} | given)
    except ValueError as error:
        raise ValueError(f"{error} Correct {shown(str(path))}.") from None


def parse_settings(
    features: Sequence[str] = (), tasks: Sequence[str] = (), format: Mapping | None = None
) -> TableSettings:
    """Parse settings of the command line, `name:kind` or `name:kind:option=value,option=value`.

    Values are numbers where they look like one; several are joined by `|`. A separator or name
    with `:`, `,` or `=` in it needs a file.

    Args:
        features: A string for each feature.
        tasks: A string for each task.
        format: Arguments of `read_csv`.

    Returns:
        `TableSettings`.

    Raises:
        ValueError: If a string has another form, or a name or value in it is unknown.

    Example:

    >>> parse_settings(["user:hashed:num_bins=500"], ["rating:regression:weight=0.5"]).tasks
    {'rating': {'kind': 'regression', 'weight': 0.5}}
    """
    return TableSettings(
        tasks=dict(_parse_all(tasks, "task", TASK_KINDS)),
        features=dict(_parse_all(features, "feature", FEATURE_KINDS)),
        format={} if format is None else format,
    )


def _parse_all(texts: Iterable[str], what: str, kinds: Iterable[str]) -> Iterator[tuple[str, dict]]:
    seen = set()
    for text in texts:
        name, _, rest = text.partition(":")
        kind, _, options = rest.partition(":")
        pairs = [pair.partition("=") for pair in options.split(",") if pair]
        if not name or not kind or not all(equals and key for key, equals, _ in pairs):
            raise ValueError(
                f"Expected name:kind or name:kind:option=value. Received: {what}={shown(text)}. "
                f"The kinds are {', '.join(kinds)}."
            )
        if name in seen:
            raise ValueError(
                f"Expected each {what} once. Received: {what}={shown(text)} after another of that "
                "name. Leave one out; two tasks of one column are told apart by column=."
            )
        seen.add(name)
        yield name, {"kind": kind} | {key: _parse_value(key, value) for key, _, value in pairs}


def _parse_value(key: str, value: str) -> object:
    if key in ("positive", "classes"):
        return value.split("|")
    if key in ("column", "separator", "pooling", "of"):
        return value
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
