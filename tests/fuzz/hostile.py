"""Values that an argument should not get, or not in this form, and what each stands for."""

import math
import numbers
from fractions import Fraction

import numpy as np

HOSTILE = (
    float("nan"),
    math.inf,
    -1,
    0,
    -0.5,
    10**20,
    "2",
    "False",
    None,
    True,
    [3],
    {},
    np.float32(1.25),
    np.int64(2),
    np.bool_(True),
    Fraction(5, 4),
    np.array([1.0, 2.0]),
)
INVALID = object()
LARGEST_SIZE = 2**31 - 1


def draw_hostile(rng, names):
    """One of the arguments and the number of its value, for one case in seven; else `None`."""
    if rng.random() >= 0.15:
        return None
    return str(rng.choice(names)), int(rng.integers(len(HOSTILE)))


def given(case) -> dict:
    """The arguments of a case, the hostile one among them."""
    if case["hostile"] is None:
        return dict(case["arguments"])
    name, number = case["hostile"]
    return {**case["arguments"], name: HOSTILE[number]}


def as_meant(case, kinds):
    """The case with its hostile argument as the plain value it stands for; `None` if for none.

    `kinds` are functions by the last part of an argument's name, from a value to the plain one.
    """
    name, number = case["hostile"]
    plain = kinds[name.split(".")[-1]](HOSTILE[number])
    if plain is INVALID:
        return None
    return {**case, "arguments": {**case["arguments"], name: plain}, "hostile": None}


# === Kinds of arguments ===


def truth(value):
    return bool(value) if isinstance(value, bool | np.bool_) else INVALID


def size(value):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if whole and 1 <= value <= LARGEST_SIZE else INVALID


def sizes(value):
    if isinstance(value, list):
        plain = tuple(map(size, value))
        return INVALID if INVALID in plain else plain
    return INVALID if size(value) is INVALID else (size(value),)


def real(value):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) and value >= 0 else INVALID


def positive(value):
    return INVALID if real(value) == 0 else real(value)


def share(value):
    return real(value) if real(value) is INVALID or real(value) <= 1 else INVALID


def rate(value):
    return INVALID if share(value) == 1 else share(value)


def optional(kind):
    return lambda value: None if value is None else kind(value)


def choice(value):
    return INVALID
