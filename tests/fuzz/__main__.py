"""`python -m fuzz`: random cases for some time, and a table of what they came to."""

import argparse
import sys
from functools import partial
from importlib import import_module

import numpy as np

from fuzz import runner
from fuzz.verdict import REFUSED, RIGHT, UNCLEAR
from moe_zoo.terminal import format_table

# Shares of the time: a case of a layer takes as long as hundreds of the others.
TARGETS = {"moe_layers": 5, "task_mixings": 5, "options": 1, "readers": 1}


def main(arguments=None) -> int:
    """Returns 1 if a case was unclear."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--only", choices=TARGETS, help="this target alone")
    parser.add_argument("--case", type=int, help="this case of the target alone, with its values")
    options = parser.parse_args(arguments)
    if options.case is not None:
        return _show(options.only or parser.error("--case wants --only"), options)
    targets = [options.only] if options.only else TARGETS
    one = options.seconds / sum(TARGETS[target] for target in targets)
    reports = {
        target: runner.run(
            _module(target),
            one * TARGETS[target],
            options.seed,
            show=partial(_progress, f"--seed {options.seed} --only {target}"),
        )
        for target in targets
    }
    print()
    print(table(reports))
    return int(any(report.unclear for report in reports.values()))


def _module(target) -> str:
    return f"{__package__}.{target}"


def table(reports) -> str:
    """A row for each target."""
    rows = [
        {
            "target": target.replace("_", " "),
            "tried": report.tried,
            **{kind: report.counts[kind] for kind in (RIGHT, REFUSED, UNCLEAR)},
        }
        for target, report in reports.items()
    ]
    return format_table(rows, {name: name for name in ("target", "tried", RIGHT, REFUSED, UNCLEAR)})


def _progress(arguments, report, number, kind, detail):
    """An unclear case at once, with the arguments that run it again, and a count."""
    if kind == UNCLEAR:
        print(f"\nunclear: {arguments} --case {number}\n{detail[:1000]}", flush=True)
    if sys.stderr.isatty():
        print(f"\r{report.module}: {report.tried:,} tried ", end="", file=sys.stderr, flush=True)


def _show(target, options):
    module = import_module(_module(target))
    print(module.draw(np.random.default_rng([options.seed, options.case])))
    kind, detail = runner.judge(module, options.seed, options.case)
    print(f"{kind}: {detail}")
    return int(kind == UNCLEAR)


if __name__ == "__main__":
    sys.exit(main())
