"""Whether a model was compiled for XLA because its user asked for it.

Keras keeps the value that `jit_compile="auto"` became, such as `True` on a GPU, and not the value
that was given. Therefore `compile` is watched from the import of this file on.
"""

import functools
import inspect
import warnings
import weakref
from typing import Any

import keras

_asked: weakref.WeakSet[keras.Model] = weakref.WeakSet()


def asked_for_xla(model: keras.Model) -> bool:
    """Return whether a model was compiled with `jit_compile=True`.

    One that was loaded from a file was not: the file does not say who turned XLA on.
    """
    return model in _asked and model.jit_compile


def turn_off_xla(model: keras.Model) -> None:
    """Turn XLA off where `jit_compile="auto"` turned it on, and warn that it is off."""
    if getattr(model, "compiled", False) and model.jit_compile:
        warnings.warn(
            f"XLA is off for {model.name!r} from now on: Keras turned it on by "
            'jit_compile="auto", and a mesh runs without it. Compile with jit_compile=False to '
            "say so yourself.",
            stacklevel=3,
        )
        model.jit_compile = False


def _watch(trainer: Any) -> None:
    compile, compile_from_config = trainer.compile, trainer.compile_from_config
    signature = inspect.signature(compile)

    @functools.wraps(compile)
    def watched_compile(self: Any, *args: Any, **kwargs: Any) -> None:
        compile(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments.get("jit_compile", "auto")
        (_asked.add if given and given != "auto" else _asked.discard)(self)

    @functools.wraps(compile_from_config)
    def watched_compile_from_config(self: Any, config: dict[str, Any]) -> None:
        compile_from_config(self, config)
        _asked.discard(self)

    trainer.compile, trainer.compile_from_config = watched_compile, watched_compile_from_config


# The class that defines it: Keras compares a model's own `compile` with that one.
_watch(next(x for x in keras.Model.__mro__ if "compile" in vars(x)))
