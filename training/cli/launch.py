"""`moe-zoo launch`: a command as several processes that share a mesh."""

import argparse
import sys

from moe_zoo.distribution.launch import DEFAULT_GRACE, launch

from .parser import real, whole


def add_launch(commands):
    """The options of `moe-zoo launch`."""
    parser = commands.add_parser(
        "launch",
        help="run a command as several processes that share a mesh",
        usage="moe-zoo launch [options] --workers HOST:PORT,HOST:PORT -- COMMAND ...",
        description="Start the workers of this machine, those whose host is its name or one of its "
        "addresses, and end them together. Run the same command on every machine.",
    )
    parser.add_argument(
        "--workers",
        required=True,
        metavar="HOST:PORT,...",
        help="addresses of all workers, the same on every machine; the first one writes files",
    )
    parser.add_argument(
        "--index",
        type=whole,
        metavar="N",
        help="start worker N alone, for schedulers that start each process (counted from 0)",
    )
    parser.add_argument(
        "--grace",
        type=real,
        default=DEFAULT_GRACE,
        metavar="SECONDS",
        help="time that the others have to end by themselves when a worker has failed (default "
        f"{DEFAULT_GRACE:g})",
    )
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what to run: a command of moe-zoo, such as train, or any program",
    )
    parser.set_defaults(run=run_launch, commands=commands.choices, needs_tensorflow=False)


def run_launch(options):
    """Run a command as several processes."""
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ValueError(
            "Expected a command to launch. Received: nothing after the options. Write for example "
            "-- train lstm_lm, or -- python my_script.py."
        )
    if words[0] in options.commands:
        words = [sys.executable, "-m", "moe_zoo", *words]
    return launch(options.workers.split(","), words, options.index, options.grace)
