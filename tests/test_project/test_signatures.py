"""Public signatures: every argument is named, annotated and described, and nothing else is."""

import importlib
import inspect
import re

import keras
import pytest

PACKAGES = [
    "moe_zoo.plans",
    "moe_zoo.routers",
    "moe_zoo.experts",
    "moe_zoo.gates",
    "moe_zoo.layers",
    "moe_zoo.losses",
    "moe_zoo.stats",
    "moe_zoo.analysis",
    "moe_zoo.distribution",
    "moe_zoo.export",
    "moe_zoo.tensorboard",
    "moe_zoo.models",
    "moe_zoo.models.transformer",
    "moe_zoo.models.recommender.features",
    "moe_zoo.models.recommender.tasks",
    "moe_zoo.training",
]
KERAS = {"name", "dtype", "trainable"}  # what **kwargs may stand for, and what needs no description


def public_objects(package):
    """(name, class or function) of a package's `__all__`, or of what its one module defines."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == package
        ]
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value


def callables(name, value):
    """(name, function, docstring) of a function, or of a class' constructor and own methods.

    The fields of settings are described by their help texts.
    """
    if inspect.isfunction(value):
        yield name, value, value.__doc__
        return
    if issubclass(value, tuple | Exception) or getattr(value, "_is_protocol", False):
        return  # its fields are described as such; a protocol is not made
    if "__init__" in vars(value) or any("__init__" in vars(base) for base in own_bases(value)):
        helps = getattr(value, "__dataclass_fields__", {}).values()
        lines = [f"    {x.name}: {x.metadata['help']}\n" for x in helps if "help" in x.metadata]
        yield name, value.__init__, "".join([value.__doc__, "\nArgs:\n" * bool(lines), *lines])
    for method, function in inspect.getmembers(value, inspect.isfunction):
        known = any(hasattr(base, method) for base in value.__mro__ if not is_own(base))
        if not method.startswith("_") and not known and is_own(function):
            yield f"{name}.{method}", function, function.__doc__


def is_own(value):
    return value.__module__.startswith("moe_zoo")


def own_bases(cls):
    return [base for base in cls.__mro__ if is_own(base)]


def described(docstring):
    """Names in the `Args:` section of a docstring."""
    section = re.search(r"^( *)Args:\n((?:\1 +.*\n|\n)+)", (docstring or "") + "\n", re.M)
    if not section:
        return []
    lines = [line for line in section[2].splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    heads = [re.match(rf" {{{indent}}}([\w*, ]+?)(?: \([^)]*\))?:", line) for line in lines]
    return [name.strip() for head in heads if head for name in head[1].split(",")]


def faults(name, function, docstring):
    """One sentence for each argument that is not annotated or not described as it should be."""
    found = []
    signature = inspect.signature(function)
    args = described(docstring)
    named = []
    for argument in list(signature.parameters.values()):
        if argument.name == "self":
            continue
        if argument.kind is argument.VAR_KEYWORD:
            if not set(re.findall(r"`(\w+)`", docstring or "")) & KERAS:
                found.append(f"{name}: **{argument.name} may only stand for name, dtype, trainable")
            continue
        if argument.annotation is argument.empty:
            found.append(f"{name}: {argument.name} has no type")
        named.append(("*" if argument.kind is argument.VAR_POSITIONAL else "") + argument.name)
    if signature.return_annotation is signature.empty and function.__name__ != "__init__":
        found.append(f"{name}: the type of what it returns is missing")
    if args or function.__name__ == "__init__":
        found += [f"{name}: {x} stands in no Args" for x in named if x not in {*args, *KERAS}]
        found += [
            f"{name}: Args describe {x}, which it does not take"
            for x in args
            if x not in named and not x.startswith("**")
        ]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_signatures_and_descriptions_agree(package):
    found = [
        sentence
        for name, value in public_objects(package)
        if is_own(value)
        for each in callables(name, value)
        for sentence in faults(*each)
    ]
    assert not found, "\n".join(found)


class Planted(keras.layers.Layer):
    """A layer with faults.

    Args:
        size: `int`, described and taken.
        gone: `int`, described and not taken.
        **kwargs: `name`.
    """

    def __init__(self, size: int, other: int, untyped=1, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)

    def look(self, at):
        """Look."""


def test_planted_faults_are_found():
    assert faults("Planted", Planted.__init__, Planted.__doc__) == [
        "Planted: untyped has no type",
        "Planted: other stands in no Args",
        "Planted: untyped stands in no Args",
        "Planted: Args describe gone, which it does not take",
    ]
    assert faults("Planted.look", Planted.look, Planted.look.__doc__) == [
        "Planted.look: at has no type",
        "Planted.look: the type of what it returns is missing",
    ]
