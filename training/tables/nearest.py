"""The name that was probably meant."""

import difflib
import itertools
from collections.abc import Iterable

from moe_zoo.validation import shorten, shown

MOST_COMPARED = 10_000  # names, so that an error does not take minutes


def nearest_name(name: str, names: Iterable[str]) -> str:
    """A question after the nearest of some names, with a space ahead, or nothing.

    Args:
        name: What was given.
        names: What there is.

    Returns:
        `str`, for the end of a sentence in an error.

    Example:

    >>> nearest_name("genre", ["user", "genres"])
    " Did you mean 'genres'?"
    >>> nearest_name("price", ["user", "genres"])
    ''
    """
    by_lower = {other.lower(): other for other in itertools.islice(names, MOST_COMPARED)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {shown(by_lower[found[0]])}?" if found else ""


def check_names(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises `ValueError` for the first of the `names` that is not `known`.

    Example:

    >>> check_names(["agee"], ["age", "sex"], what="columns")
    Traceback (most recent call last):
    ValueError: Expected columns out of age, sex. Received: 'agee'. Did you mean 'age'?
    """
    known = list(known)
    for name in names:
        if name not in known:
            advice = nearest_name(str(name), known) or " Choose one of them."
            raise ValueError(
                f"Expected {what} out of {shorten(known)}. Received: {shown(name)}.{advice}"
            )
