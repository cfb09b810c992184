"""Fields of the settings of recipes: a default, a help text, choices."""

from dataclasses import field, fields


def setting(default, help, choices=None):
    """A dataclass field that the command line turns into an option."""
    return field(default=default, metadata={"help": help, "choices": choices})


def check_choices(settings):
    """Raises `ValueError` for a value that is none of its field's choices."""
    for each in fields(settings):
        choices, value = each.metadata["choices"], getattr(settings, each.name)
        if choices and value not in choices:
            raise ValueError(
                f"Expected one of {', '.join(choices)}. Received: {each.name}={value!r}. "
                f"The default is {each.default!r}."
            )


def check_seed(seed):
    """Raises `ValueError` unless a seed is a whole number from 0 to below 2^32, as Keras takes."""
    if not 0 <= seed < 2**32:
        raise ValueError(
            f"Expected a seed from 0 to {2**32 - 1}. Received: seed={seed!r}. Any number of these "
            "will do."
        )


def check_epochs(steps, steps_per_epoch):
    """Raises `ValueError` unless a training is whole epochs."""
    if steps % steps_per_epoch:
        whole = steps - steps % steps_per_epoch or steps_per_epoch
        raise ValueError(
            f"Expected a multiple of steps_per_epoch={steps_per_epoch}. Received: steps={steps}. "
            f"Take {whole}, or another steps_per_epoch."
        )
