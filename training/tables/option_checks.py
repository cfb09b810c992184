"""Checks of options of columns and of the format of text files."""

import io
import math
from collections.abc import Callable, Mapping
from functools import partial

from moe_zoo.validation import check_at_least, check_bool, check_int, check_number, shown


def check_options(options: Mapping, checks: Mapping[str, Callable], what: str) -> dict:
    """Check the options that have a check, and leave out those that are `None`.

    Args:
        options: Values by name.
        checks: Functions of a name and a value that return the value to take.
        what: Owner of the options, for messages.

    Raises:
        ValueError: If a value is not allowed for its option.

    Example:

    >>> check_options({"skip_lines": "many"}, FORMAT_CHECKS, "the format")
    Traceback (most recent call last):
    ValueError: Expected a whole number of at least 0. Received: skip_lines='many' of the format.
    Give `skip_lines` as an int.
    """
    checked = {}
    for name, value in options.items():
        if value is not None:
            try:
                checked[name] = checks[name](name, value) if name in checks else value
            except ValueError as error:
                raise name_owner(error, {name: value}, what) from None
    return checked


def name_owner(error: ValueError, options: Mapping, what: str) -> ValueError:
    """Return the error for a wrong option, with the owner of the option."""
    text = str(error)
    for received in (f"{name}={shown(value)}" for name, value in options.items()):
        text = text.replace(f"Received: {received}", f"Received: {received} of {what}", 1)
    return ValueError(text)


def check_real(name: str, value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"Expected a number. Received: {name}={shown(value)}. Write it without quotes, with a "
            "point before an exponent: YAML takes 1.0e-3 for a number, and 1e-3 for a text."
        )
    return check_number(name, value, "Leave it out if there is none.")


def check_weight(name: str, value: object) -> float:
    """Return a finite number of at least 0."""
    return check_at_least(name, check_real(name, value), 0.0)


def check_text(name: str, value: object) -> str:
    """Return a text of one letter or more, on one line."""
    if not isinstance(value, str) or not value or set(value) & set("\r\n\0"):
        raise ValueError(
            f"Expected a text of one letter or more, on one line. Received: {name}={shown(value)}. "
            "Write it in quotes."
        )
    return value


def check_value(name: str, value: object) -> str:
    """Return one value as the string that a table has for it."""
    (text,) = check_texts(name, value if isinstance(value, str) else [value])
    return text


def check_texts(name: str, values: object) -> tuple[str, ...]:
    """Return one value or several as the strings that a table has for them."""
    several = values if isinstance(values, list | tuple) else [values]
    for value in several:
        finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not (isinstance(value, str) or finite):
            raise ValueError(
                f"Expected texts or numbers. Received: {name}={shown(values)}. YAML takes yes, no, "
                "true and false for truth values and dates for dates: write them in quotes, as in "
                "the table."
            )
    return tuple(map(str, several))


def check_labels(name: str, values: object) -> tuple[str, ...]:
    """Return texts as `check_texts` does, none of them empty: an empty cell is a missing label."""
    texts = check_texts(name, values)
    if "" in texts:
        raise ValueError(
            f"Expected values of labels. Received: {name}={shown(values)}, with an empty one, "
            "which stands for a missing label. Leave it out."
        )
    return texts


def check_encoding(name: str, value: object) -> str:
    """Return the name of an encoding of text; codecs such as rot13 and hex are refused."""
    encoding = check_text(name, value)
    try:
        with io.TextIOWrapper(io.BytesIO(), encoding=encoding):
            return encoding
    except (LookupError, ValueError):
        raise ValueError(
            f"Expected an encoding that Python knows. Received: {name}={shown(value)}. utf-8 and "
            "latin-1 are common."
        ) from None


def check_quote(name: str, value: object) -> str:
    """Return a single letter."""
    if len(check_text(name, value)) > 1:
        raise ValueError(
            f"Expected one letter. Received: {name}={shown(value)}. The double quote is common; "
            "null takes quotes for text."
        )
    return str(value)


COLUMN_CHECKS: dict[str, Callable] = {
    "column": check_text,
    "separator": check_text,
    "positive": check_labels,
    "classes": check_labels,
    "at_least": check_real,
    "minimum": check_real,
    "maximum": check_real,
    "weight": check_weight,
    "missing_label": lambda name, value: value,  # a text or a number: its column says which
    "standardize": check_bool,
}
FORMAT_CHECKS: dict[str, Callable] = {
    "columns": check_texts,
    "delimiter": check_text,
    "strip": check_bool,
    "missing": check_texts,
    "skip_lines": partial(check_int, least=0),
    "quote": check_quote,
    "encoding": check_encoding,
}
