"""Checks of arguments, with messages that name the value, what was expected and what to do."""

import numbers


def check_int(name, value, least):
    """`value` as an `int`. Raises `ValueError` unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(
            f"Expected a whole number of at least {least}. Received: {name}={value!r}. "
            f"Give `{name}` as an int."
        )
    return int(value)


def check_at_least(name, value, least):
    """`value`. Raises `ValueError` if it is below `least` or not a number."""
    if not isinstance(value, numbers.Real) or not value >= least:
        raise ValueError(
            f"Expected a number of at least {least}. Received: {name}={value!r}. "
            f"Set `{name}` to {least} to switch it off."
        )
    return float(value)


def check_factor(name, value):
    """`value`. Raises `ValueError` unless it is a positive number or `None`."""
    if value is not None and not (isinstance(value, numbers.Real) and float(value) > 0):
        raise ValueError(
            f"Expected a positive factor, or None for dropless. Received: {name}={value!r}. "
            "1.25 in training and 2.0 in evaluation are common."
        )
    return value
