"""Packages whose names are imported on first use: TensorFlow takes seconds to import."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, Sequence[str]], submodules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Type checkers see the same names by imports under `TYPE_CHECKING`.

    Args:
        package: The package's `__name__`.
        names: The names that the package exports, by the module that defines them, relative to the
            package: `"moe"`, or `".stats"` for a module of the parent package.
        submodules: Modules of the package that become its attributes.
    """
    sources = {name: f".{module}" for module, listed in names.items() for name in listed}

    def __getattr__(name: str) -> Any:
        if name not in sources and name not in submodules:
            raise AttributeError(_message(package, name, [*submodules, *sources]))
        try:
            module = importlib.import_module(sources.get(name, f".{name}"), package)
        except AttributeError as error:  # Python would take it for a missing name, without a cause
            raise ImportError(f"{package}.{name} cannot be imported: {error}") from error
        if name in submodules:
            return module
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *sources, *submodules})

    return __getattr__, __dir__


def _message(package: str, name: str, known: Sequence[str]) -> str:
    message = f"module {package!r} has no attribute {name[:100]!r}"
    if name.startswith("__"):  # Python and its tools look for these
        return message
    from moe_zoo.validation import did_you_mean  # which needs NumPy

    question = did_you_mean(name, known)
    return f"{message}.{question}" if question else message
