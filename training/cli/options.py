"""Options that recipes share: settings, output, names to compare, a mesh of devices."""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from moe_zoo.training.recipes.settings import Settings, setting_type
from moe_zoo.validation import check_int, check_names, check_positive

from .parser import file_path, real, whole

if TYPE_CHECKING:
    from moe_zoo.distribution import ExpertParallel

MOST_DEVICES = 1024  # parts of one CPU
PARSERS: dict[type, Callable[[str], Any]] = {int: whole, float: real, str: str}
AnySettings = TypeVar("AnySettings", bound=Settings)


def add_settings(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """Add an option for each field of settings, the fields of the recipe before those of its bases.

    Args:
        parser: Parser of the command.
        kind: Class of the settings.
    """
    group = parser.add_argument_group("settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = dict.fromkeys(name for cls in kind.__mro__ for name in inspect.get_annotations(cls))
    for field in (fields[name] for name in names if name in fields):
        name, help = f"--{field.name.replace('_', '-')}", field.metadata["help"]
        if field.default is False:
            group.add_argument(name, action="store_true", help=help)
            continue
        value_type, choices = setting_type(field), field.metadata["choices"]
        group.add_argument(
            name,
            type=PARSERS[value_type],
            default=field.default,
            choices=choices,
            metavar=None if choices else value_type.__name__.upper(),
            help=help if field.default is None else f"{help} (default {field.default})",
        )


def read_settings(options: argparse.Namespace, kind: type[AnySettings]) -> AnySettings:
    """Read the settings.

    Args:
        options: Options of the command.
        kind: Class of the settings.
    """
    return kind(**{field.name: getattr(options, field.name) for field in dataclasses.fields(kind)})


def add_run(run: argparse._ArgumentGroup, output: str | None) -> None:
    """Add the options of every run.

    Args:
        run: Group of options.
        output: Default folder; `None` for the name of the data.
    """
    run.add_argument(
        "--output",
        type=file_path,
        default=output,
        metavar="DIR",
        help=f"folder of the run (default {output or 'runs/ and the name of the data'})",
    )
    run.add_argument(
        "--logs",
        type=file_path,
        metavar="DIR",
        help="folder of the TensorBoard logs (default: in the run's folder)",
    )
    run.add_argument("--quiet", action="store_true", help="show no progress bars")


def add_compare(
    run: argparse._ArgumentGroup, what: str, metavar: str, names: Sequence[str]
) -> None:
    """Add `--compare`, which takes names separated by commas.

    Args:
        run: Group of options.
        what: What is named, in the plural.
        metavar: What is named, for the usage.
        names: All names.
    """
    run.add_argument(
        "--compare",
        default="",
        metavar=f"{metavar},...",
        help=f"other {what} to train, out of {', '.join(names)}, or all",
    )


def read_names(first: str, compare: str, names: Sequence[str], what: str) -> list[str]:
    """Read the names to compare, the main one first.

    Args:
        first: Name of the main one.
        compare: Value of `--compare`.
        names: All names.
        what: What is named, in the plural.

    Raises:
        ValueError: If a name is not known.
    """
    others: Iterable[str] = names if compare == "all" else filter(None, compare.split(","))
    chosen = list(dict.fromkeys([first, *others]))
    check_names(chosen, names, f"{what} to compare, separated by commas,")
    return chosen


def add_mesh(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add the options of training on several devices.

    Args:
        parser: Parser of the command.
        note: Further sentence for the help.
    """
    group = parser.add_argument_group(
        "several devices", f"Each device holds its part of the experts.{note}"
    )
    group.add_argument(
        "--mesh", metavar="AXES", help="axes of devices, such as expert=4 or batch=2,expert=4"
    )
    group.add_argument(
        "--virtual-devices",
        type=whole,
        metavar="N",
        help="split the CPU into this many devices, to try a mesh on one machine",
    )
    group.add_argument(
        "--collective-timeout",
        type=real,
        default=600.0,
        metavar="SECONDS",
        help="with several processes: longest time of a step, after which the processes that wait "
        "for a stuck one end (default 600)",
    )


def make_mesh(options: argparse.Namespace) -> "ExpertParallel | None":
    """Make the mesh that the options describe, if any.

    Args:
        options: Options of the command.
    """
    from moe_zoo.distribution import ExpertParallel, virtual_devices

    if options.virtual_devices is not None:
        virtual_devices(check_int("virtual_devices", options.virtual_devices, 1, MOST_DEVICES))
    timeout = check_positive(
        "collective_timeout", options.collective_timeout, "Give the seconds of the slowest step."
    )
    if options.mesh is None:
        return None
    return ExpertParallel(options.mesh, collective_timeout=timeout)
