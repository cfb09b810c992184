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


def check_sizes(name, values, least):
    """`values` as a tuple of `int`, of which there have to be `least`; all of them positive."""
    if isinstance(values, numbers.Integral):
        values = (values,)
    if not isinstance(values, list | tuple) or len(values) < least:
        raise ValueError(
            f"Expected at least {least} sizes. Received: {name}={values!r}. Give `{name}` the "
            "units of each layer, such as (16,)."
        )
    return tuple(check_int(name, value, least=1) for value in values)


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


def check_rate(name, value):
    """`value`. Raises `ValueError` unless it is a number in [0, 1)."""
    if not isinstance(value, numbers.Real) or not 0.0 <= float(value) < 1.0:
        raise ValueError(
            f"Expected a rate in [0, 1). Received: {name}={value!r}. 0 switches it off, 0.1 is "
            "common."
        )
    return float(value)


def check_positive(name, value):
    """`value`. Raises `ValueError` unless it is a number above 0."""
    if not isinstance(value, numbers.Real) or not float(value) > 0.0:
        raise ValueError(f"Expected a number above 0. Received: {name}={value!r}. 1 is common.")
    return float(value)
