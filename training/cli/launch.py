"""`moe-zoo launch`: run a command as several processes that share a mesh."""

import argparse
import sys
from typing import Any

from moe_zoo.distribution.launch import DEFAULT_GRACE, launch

from .parser import real, whole


def add_launch(commands: Any) -> None:
    """Add the options of `moe-zoo launch`."""
    parser = commands.add_parser(
        "launch",
        help="run a command as several processes that share a mesh",
        usage="moe-zoo launch [options] --workers HOST:PORT,HOST:PORT -- COMMAND ...",
        description="Start the workers whose host is a name or address of this machine, and end "
        "them together. Run the same command on every machine.",
    )
    parser.add_argument(
        "--workers",
        required=True,
        metavar="HOST:PORT,...",
        help="addresses of all workers, the same on every machine; the first worker writes files",
    )
    parser.add_argument(
        "--index",
        type=whole,
        metavar="N",
        help="start only worker N, counted from 0, for schedulers that start each process",
    )
    parser.add_argument(
        "--grace",
        type=real,
        default=DEFAULT_GRACE,
        metavar="SECONDS",
        help="time for the other workers to end by themselves after one has failed (default "
        f"{DEFAULT_GRACE:g})",
    )
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="command to run: one of moe-zoo, such as train, or any program",
    )
    parser.set_defaults(run=run_launch, commands=commands.choices, needs_tensorflow=False)


def run_launch(options: argparse.Namespace) -> int:
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
