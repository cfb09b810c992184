"""Settings of one column of a user's table: kinds of features and tasks as plain data."""

from collections.abc import Callable, Iterable, Mapping

from moe_zoo.models.recommender.features import Feature, make_feature
from moe_zoo.validation import check_names, shown

from .columns import Column, ListColumn, NumberColumn, TextColumn, WholeColumn
from .label_columns import BinaryLabel, ClassLabel, MissingLabel, PositiveLabel, ThresholdLabel
from .option_checks import COLUMN_CHECKS, check_options, check_real, check_value, name_owner
from .value_type import ValueType, all_text

NUMERIC = ("number", "buckets")
LIST_OF = ("category", "hashed")
# Options of each kind: of a feature the arguments of its class, of a list those of its values too.
FEATURE_KINDS: dict[str, list[str]] = {kind: list(x.options()) for kind, x in Feature.kinds.items()}
FEATURE_KINDS["list"].remove("feature")
FEATURE_KINDS["list"] += ["of", *dict.fromkeys(x for of in LIST_OF for x in FEATURE_KINDS[of])]
TASK_KINDS: dict[str, list[str]] = {
    "binary": ["positive", "at_least", "weight", "missing_label"],
    "regression": ["minimum", "maximum", "weight", "standardize", "missing_label"],
    "classes": ["classes", "weight", "missing_label"],
}


def feature_settings(
    name: str, settings: str | Mapping, type_of: Callable[[str], ValueType] = all_text
) -> tuple[Column, dict]:
    """Return the column to read for a feature, and the description of the feature.

    A served model takes the same values as the file has: numbers, ids as strings or whole numbers,
    and lists or strings with a separator.

    Args:
        name: Name of the feature.
        settings: Its kind, or a `dict` of `kind`, `column` (by default the name) and the options
            of the kind in `FEATURE_KINDS`.
        type_of: Function of a column's name in the file that gives its type.

    Returns:
        The column of the table, and the description for `RecommenderData.features`.

    Raises:
        ValueError: If a kind, an option or its value is unknown, or does not fit the type.

    Example:

    >>> feature_settings("genres", {"kind": "list", "separator": ";", "embedding_dim": 4})
    (ListColumn(source='genres', separator=';', dtype='string'),
     {'kind': 'list', 'feature': {'kind': 'category', 'embedding_dim': 4}, 'separator': ';'})
    """
    kind, source, options = _options(name, settings, FEATURE_KINDS, "feature")
    values = type_of(source)
    _check_type(kind, source, values)
    description: dict = {"kind": kind, **options}
    column: Column
    if kind == "list":
        column = ListColumn(source, options.get("separator", "|"), values.id_dtype or "string")
        description = _list_description(name, options)
        if not values.is_list:
            description["separator"] = column.separator
    elif kind in NUMERIC:
        column = NumberColumn(source)
    else:
        column = (WholeColumn if values.id_dtype == "int64" else TextColumn)(source)
    try:
        make_feature(description)
    except ValueError as error:
        raise name_owner(error, options, f"feature {shown(name)}") from None
    return column, description


def _list_description(name: str, options: dict) -> dict:
    """Return the description of a list, which contains that of its values."""
    of = options.get("of", "category")
    if of not in LIST_OF:
        raise ValueError(
            f"Expected a list of {' or '.join(LIST_OF)}. Received: feature {shown(name)} with "
            f"of={shown(of)}. The default is 'category'."
        )
    inner = {key: x for key, x in options.items() if key not in ("of", "pooling", "separator")}
    check_names(inner, FEATURE_KINDS[of], f"options of a list of {of}")
    pooling = {"pooling": options["pooling"]} if "pooling" in options else {}
    return {"kind": "list", "feature": {"kind": of, **inner}, **pooling}


def task_settings(name: str, settings: str | Mapping) -> tuple[Column, dict]:
    """Return the column to read for a task, and the description of the task.

    Args:
        name: Name of the task.
        settings: Its kind, or a `dict` of `kind`, `column` (by default the name) and the options
            of the kind in `TASK_KINDS`. A binary task's labels are 0 and 1, or it has `positive`,
            the value of a 1 or a list of such values, or `at_least`, the least number of a 1. A
            regression's labels are standardized, unless `standardize` is False. `missing_label` is
            a value that marks a missing label, as an empty cell does.

    Returns:
        The column of the table, and the description for `RecommenderData.tasks`.

    Raises:
        ValueError: If a kind, an option or its value is unknown.

    Example:

    >>> task_settings("like", {"kind": "binary", "column": "rating", "at_least": 4, "weight": 0.5})
    (ThresholdLabel(source='rating', at_least=4.0), {'kind': 'binary', 'weight': 0.5})
    """
    kind, source, options = _options(name, settings, TASK_KINDS, "task")
    missing = options.pop("missing_label", None)
    column, task = _labels(name, kind, source, options)
    if missing is None:
        return column, task
    check = check_value if column.dtype == "string" else check_real
    given = check_options(
        {"missing_label": missing}, {"missing_label": check}, f"task {shown(name)}"
    )
    return MissingLabel(source, column, given["missing_label"]), task


def _labels(name: str, kind: str, source: str, options: dict) -> tuple[Column, dict]:
    """Return the column of labels and the description of a task."""
    task = {"kind": kind} | ({"weight": options["weight"]} if "weight" in options else {})
    if kind == "regression":
        if "standardize" in options:
            task["standardize"] = options["standardize"]
        return NumberColumn(source, options.get("minimum"), options.get("maximum")), task
    if kind == "classes":
        classes = options.get("classes", ())
        if len(set(classes)) < max(2, len(classes)):
            raise ValueError(
                f"Expected two different classes or more. Received: classes={shown(list(classes))} "
                f"of task {shown(name)}. Name the values of its column, as classes=low|middle|high."
            )
        return ClassLabel(source, classes), task | {"classes": list(classes)}
    if "positive" in options and "at_least" in options:
        raise ValueError(
            f"Expected either positive or at_least. Received: both for task {shown(name)}. Leave "
            "one out."
        )
    if "positive" in options:
        return PositiveLabel(source, options["positive"]), task
    if "at_least" in options:
        return ThresholdLabel(source, options["at_least"]), task
    return BinaryLabel(source), task


def _check_type(kind: str, source: str, values: ValueType) -> None:
    """Refuse a column whose values a feature of this kind cannot read and serve as they are."""
    if values.dtype == "other":
        expected = "texts, numbers or lists of them"
        advice = "Write it as text or numbers, or leave it out."
    elif values.is_list and kind != "list":
        expected, advice = "one value a row", "Take the column as a feature of kind `list`."
    elif kind == "list" and not values.is_list and values.id_dtype == "int64":
        expected = "lists, or texts with a separator,"
        advice = "Take the column as a feature of kind `category` or `hashed`."
    elif kind not in NUMERIC and values.id_dtype is None:
        expected = "texts or whole numbers"
        advice = "Write ids as int64, which may be null, or take the column as `number`."
    else:
        return
    raise ValueError(
        f"Expected {expected} in column {shown(source)}, for a feature of kind {kind}. Received: "
        f"values of type {values.shown}. {advice}"
    )


def _options(
    name: str, settings: str | Mapping, kinds: Mapping[str, Iterable[str]], what: str
) -> tuple[str, str, dict]:
    """Return the kind, the column and the options that are set."""
    if isinstance(settings, str):
        settings = {"kind": settings}
    if not isinstance(settings, Mapping) or "kind" not in settings:
        raise ValueError(
            f"Expected a kind or a dict with a kind. Received: {what} {shown(name)} with "
            f"{shown(settings)}. The kinds are {', '.join(kinds)}."
        )
    given = dict(settings)
    kind = given.pop("kind")
    check_names([kind], kinds, f"kinds of a {what}")
    owner = f"{what} {shown(name)}"
    column = {"column": given.pop("column", name)}
    source = check_options(column, COLUMN_CHECKS, owner)["column"]
    check_names(given, kinds[kind], f"options of the {kind} {owner}")
    return kind, source, check_options(given, COLUMN_CHECKS, owner)
