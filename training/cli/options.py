"""Options that recipes share: their settings, and a mesh of devices."""

import dataclasses

from moe_zoo.training.recipes.settings import setting_type
from moe_zoo.training.recipes.transformer_settings import MIXTURES
from moe_zoo.validation import check_int, check_positive, shown

from .parser import file_path, real, whole

MOST_DEVICES = 1024  # parts of one CPU


def add_settings(parser, kind):
    """An option for each field of a dataclass of settings, with its help, default and choices."""
    settings = parser.add_argument_group("settings")
    for setting in dataclasses.fields(kind):
        name = f"--{setting.name.replace('_', '-')}"
        if setting.default is False:
            settings.add_argument(name, action="store_true", help=setting.metadata["help"])
            continue
        kind = setting_type(setting)
        text = setting.metadata["help"]
        settings.add_argument(
            name,
            type={int: whole, float: real, str: str}[kind],
            default=setting.default,
            choices=setting.metadata["choices"],
            metavar=None if setting.metadata["choices"] else kind.__name__.upper(),
            help=text if setting.default is None else f"{text} (default {setting.default})",
        )


def read_settings(options, kind):
    """The settings that the options ask for."""
    names = [setting.name for setting in dataclasses.fields(kind)]
    return kind(**{name: getattr(options, name) for name in names})


def add_run(parser, output):
    """The group of options that say where things go; returns it."""
    run = parser.add_argument_group("run")
    run.add_argument(
        "--output",
        type=file_path,
        default=output,
        metavar="DIR",
        help=f"folder of the run (default {output})",
    )
    run.add_argument(
        "--logs",
        type=file_path,
        metavar="DIR",
        help="TensorBoard logs (default: in the run's folder)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    return run


def add_compare(run, what, metavar, names):
    """The option `--compare`, with names separated by commas."""
    run.add_argument(
        "--compare",
        default="",
        metavar=f"{metavar},...",
        help=f"other {what}, out of {', '.join(names)}, or all",
    )


def read_names(first, compare, names, what):
    """Names to compare, the main one first. Raises `ValueError` for one that is not known."""
    wanted = names if compare == "all" else [name for name in compare.split(",") if name]
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"Expected {what} out of {', '.join(names)}. Received: compare={shown(name)}. "
                "Separate several by commas."
            )
    return list(dict.fromkeys([first, *wanted]))


def add_mesh(parser, note=""):
    """The options of training on several devices."""
    group = parser.add_argument_group(
        "several devices", f"Each device holds its part of the experts.{note}"
    )
    group.add_argument(
        "--mesh", metavar="AXES", help="axes of devices, as expert=4 or batch=2,expert=4"
    )
    group.add_argument(
        "--virtual-devices",
        type=whole,
        metavar="N",
        help="split the CPU into so many devices, to try a mesh on one machine",
    )
    group.add_argument(
        "--collective-timeout",
        type=real,
        default=600.0,
        metavar="SECONDS",
        help="of several processes: the longest that a step may take before those that wait for a "
        "stuck one end (default 600)",
    )


def make_plan(options):
    """The `ExpertParallel` that the options ask for, or `None`."""
    from moe_zoo.distribution import ExpertParallel, virtual_devices

    if options.virtual_devices is not None:
        virtual_devices(check_int("virtual_devices", options.virtual_devices, 1, MOST_DEVICES))
    timeout = check_positive(
        "collective_timeout", options.collective_timeout, "Give the seconds of the slowest step."
    )
    if options.mesh is None:
        return None
    return ExpertParallel(options.mesh, collective_timeout=timeout)


def train_and_compare(run_class, options, settings):
    """Train a model for each router, compare them, export the first one.

    Args:
        run_class: a subclass of `TextRun`.
        options: those of the command.
        settings: a kind of `TransformerSettings`.
    """
    routers = read_names(settings.router, options.compare, MIXTURES, "routers")
    plan = make_plan(options)  # first of all, since it may split the CPU
    run = run_class(
        settings, routers, options.output, options.logs, progress=not options.quiet, plan=plan
    )
    model, row = run.train(routers[0])
    run.finish(model, [row, *(run.train(router)[1] for router in routers[1:])])
