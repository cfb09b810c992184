"""Checks of arguments, with messages that name the value, what was expected and what to do.

What they return is plain Python: NumPy's scalars and fractions become `bool`, `int` and `float`, so
that a configuration made of them is JSON.
"""

import contextlib
import difflib
import itertools
import math
import numbers
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

LARGEST_SIZE = 2**31 - 1  # TensorFlow counts rows and places in int32
LARGEST_INT = 2**63 - 1
SHOWN_CHARACTERS = 300
MOST_COMPARED = 10_000  # names, so that an error does not take minutes


class _Shown(reprlib.Repr):
    """`repr` that looks at a few entries of a few levels, whatever a value holds."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = SHOWN_CHARACTERS

    def repr1(self, x: Any, level: int) -> str:
        """As Python's own, but for subclasses of containers and strings too."""
        for kind in (str, bytes, list, tuple, set, frozenset, dict):
            if isinstance(x, kind):
                return getattr(self, f"repr_{kind.__name__}")(x, level)
        return super().repr1(x, level)

    def repr_int(self, x: int, level: int) -> str:
        """As Python's own, which refuses to write thousands of digits."""
        if x.bit_length() > 4 * SHOWN_CHARACTERS:
            return f"a whole number of {x.bit_length():,} bits"
        return super().repr_int(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """The first bytes: `repr` of all would take as long as they are many."""
        return repr(x[:SHOWN_CHARACTERS])


_shown = _Shown()


def shown(value: Any, most: int = SHOWN_CHARACTERS) -> str:
    """Return `repr(value)` in bounded time, of at most `most` characters, for messages.

    Of containers a few entries and levels are looked at, of strings both ends.

    Example:

    >>> shown([1, "two", {"three": 3.0}])
    "[1, 'two', {'three': 3.0}]"
    >>> len(shown("x" * 10_000_000))
    300
    """
    return _cut(_shown.repr(value).replace("\n", " "), most)


def _cut(text: str, most: int) -> str:
    """A text of at most `most` characters, from both of its ends."""
    if len(text) <= most:
        return text
    tail = (most - 3) // 2
    return f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def one_line(text: Any, most: int = 1000) -> str:
    r"""Return a message as one line that a terminal can show: cut, control characters escaped.

    Example:

    >>> one_line("red:\x1b[31m\n  more")
    'red:\\x1b[31m more'
    """
    text = " ".join(_cut(str(text), most).split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shorten(names: Iterable[Any], most: int = 50) -> str:
    r"""Return some names with commas between them, as `one_line` shows them, and how many more.

    Example:

    >>> shorten(["a", "b\x1b", "c", "d", "e"], most=3)
    'a, b\\x1b, c and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(one_line(name, 200) for name in names[:most]) + more


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question for the name that was probably meant, or an empty string.

    Args:
        name: Name that was received.
        names: Names that exist.

    Returns:
        `str` to put after the end of a sentence, with a space ahead.

    Example:

    >>> did_you_mean("genre", ["user", "genres"])
    " Did you mean 'genres'?"
    >>> did_you_mean("price", ["user", "genres"])
    ''
    """
    by_lower = {other.lower(): other for other in itertools.islice(names, MOST_COMPARED)}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {shown(by_lower[nearest[0]])}?" if nearest else ""


def check_names(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise `ValueError` for the first of the `names` that is not `known`.

    Args:
        names: Names that were received.
        known: Names that exist.
        what: What they name, for the message.

    Example:

    >>> check_names(["agee"], ["age", "sex"], what="columns")
    Traceback (most recent call last):
    ValueError: Expected columns out of age, sex. Received: 'agee'. Did you mean 'age'?
    """
    known = list(known)
    for name in names:
        if name not in known:
            advice = did_you_mean(str(name), known) or " Choose one of them."
            raise ValueError(
                f"Expected {what} out of {shorten(known)}. Received: {shown(name)}.{advice}"
            )


def check_int(name: str, value: Any, least: int, most: int = LARGEST_SIZE) -> int:
    """Return `value` as an `int` from `least` to `most`, or raise `ValueError`."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < least:
        raise ValueError(
            f"Expected a whole number of at least {least}. Received: {name}={shown(value)}. "
            f"Give `{name}` as an int."
        )
    if value > most:
        raise ValueError(
            f"Expected a whole number of at most {most}. Received: {name}={shown(value)}. "
            f"Lower `{name}`."
        )
    return int(value)


def check_sizes(name: str, values: Any, least: int) -> tuple[int, ...]:
    """Return `values` as a tuple of at least `least` positive `int`, or raise `ValueError`."""
    if isinstance(values, numbers.Integral):
        values = (values,)
    if not isinstance(values, list | tuple) or len(values) < least:
        raise ValueError(
            f"Expected at least {least} sizes. Received: {name}={shown(values)}. Give `{name}` the "
            "units of each layer, such as (16,)."
        )
    return tuple(check_int(name, value, least=1) for value in values)


def check_seed(name: str, value: Any) -> int | None:
    """Return `value` as an `int` of 64 bits, or `None`, or raise `ValueError`."""
    return None if value is None else check_int(name, value, -LARGEST_INT, LARGEST_INT)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a `bool`, or raise `ValueError`; a string such as "no" would be true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(
            f"Expected True or False. Received: {name}={shown(value)}. Give `{name}` as a bool, "
            "without quotes."
        )
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[Any], advice: str) -> str:
    """Return `value`, or raise `ValueError` unless it is one of the strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"Expected one of {', '.join(choices)}. Received: {name}={shown(value)}. {advice}"
        )
    return value


def check_number(name: str, value: Any, advice: str = "Give it as a float.") -> float:
    """Return `value` as a finite `float`, or raise `ValueError`."""
    return _number(name, value, "a finite number", lambda x: True, advice)


def check_part(name: str, value: Any, kind: type, example: str) -> Any:
    """Return `value`, or raise `ValueError` unless it is a layer of that kind, and no class."""
    if isinstance(value, type):
        raise ValueError(
            f"Expected an object such as {example}. Received: {name}={value.__name__}, a class. "
            "Call the class to make one."
        )
    if not isinstance(value, kind):
        raise ValueError(
            f"Expected a layer of class {kind.__name__}, such as {example}. Received: "
            f"{name}={shown(value)}. Give each part under its own name; your own derive from "
            f"{kind.__name__}."
        )
    return value


def check_at_least(name: str, value: Any, least: float, advice: str | None = None) -> float:
    """Return `value` as a finite `float` of at least `least`, or raise `ValueError`."""
    expected = f"a finite number of at least {least}"
    advice = advice or f"Set `{name}` to {least} to switch it off."
    return _number(name, value, expected, lambda x: x >= least, advice)


def check_factor(name: str, value: Any) -> float | None:
    """Return `value` as a positive `float`, or `None`, or raise `ValueError`."""
    if value is None:
        return None
    expected = "a positive factor, or None for dropless"
    advice = "1.25 in training and 2.0 in evaluation are common."
    return _number(name, value, expected, lambda x: x > 0.0, advice)


def check_rate(name: str, value: Any, advice: str = "0 switches it off, 0.1 is common.") -> float:
    """Return `value` as a `float` in [0, 1), or raise `ValueError`."""
    return _number(name, value, "a rate in [0, 1)", lambda x: 0.0 <= x < 1.0, advice)


def check_share(name: str, value: Any) -> float:
    """Return `value` as a `float` in [0, 1], or raise `ValueError`."""
    return _number(name, value, "a share in [0, 1]", lambda x: 0.0 <= x <= 1.0, "0.9 is common.")


def check_positive(name: str, value: Any, advice: str = "1 is common.") -> float:
    """Return `value` as a finite `float` above 0, or raise `ValueError`."""
    return _number(name, value, "a finite number above 0", lambda x: x > 0.0, advice)


def _number(
    name: str, value: Any, expected: str, fits: Callable[[float], bool], advice: str
) -> float:
    """Return a finite number as a `float` that fits, or raise `ValueError`."""
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not (math.isfinite(number) and fits(number)):
        raise ValueError(f"Expected {expected}. Received: {name}={shown(value)}. {advice}")
    return number
