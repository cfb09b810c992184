"""Fields of the settings of recipes: a default, a help text, choices."""

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any

from moe_zoo.validation import LARGEST_INT, check_bool, check_int, check_number, shown

LARGEST_SEED = 2**32 - 1  # what Keras and NumPy both take


def setting(default, help, choices=None):
    """A dataclass field that the command line turns into an option."""
    return field(default=default, metadata={"help": help, "choices": choices})


def setting_type(setting):
    """The type of a field's values, `None` apart: `bool`, `int`, `float` or `str`."""
    return next(x for x in (bool, int, float, str) if x.__name__ in str(setting.type))


def check_values(settings):
    """Check each field by its type and choices, and store it as plain Python.

    Raises:
        ValueError: a value of another type, a number that is not finite, an empty text, or none of
            the field's choices.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value is not None or "None" not in str(each.type):
            checked = CHECKS[setting_type(each)](each.name, value)
            object.__setattr__(settings, each.name, checked)  # a dataclass that is frozen
        choices = each.metadata["choices"]
        if choices and value not in choices:
            raise ValueError(
                f"Expected one of {', '.join(map(str, choices))}. Received: "
                f"{each.name}={shown(value)}. The default is {shown(each.default)}."
            )


def check_run_seed(name, seed):
    """Raises `ValueError` unless a seed is a whole number from 0 to below 2^32."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(
            f"Expected a seed from 0 to {LARGEST_SEED}. Received: {name}={shown(seed)}. Any number "
            "of these will do."
        )


def check_epochs(steps, steps_per_epoch):
    """Raises `ValueError` unless a training is whole epochs."""
    if steps % steps_per_epoch:
        whole = steps - steps % steps_per_epoch or steps_per_epoch
        raise ValueError(
            f"Expected a multiple of steps_per_epoch={steps_per_epoch}. Received: steps={steps}. "
            f"Take {whole}, or another steps_per_epoch."
        )


def _check_text(name, value):
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(
            f"Expected a text. Received: {name}={shown(value)}. Leave it out for the default."
        )
    return value


CHECKS: dict[type, Callable[..., Any]] = {
    bool: check_bool,
    int: lambda name, value: check_int(name, value, -LARGEST_INT, LARGEST_INT),
    float: check_number,
    str: _check_text,
}
