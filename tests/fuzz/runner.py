"""Runs the cases of a target in a process of its own, which may crash or hang without harm."""

import json
import multiprocessing
import os
import time
import traceback
from collections import Counter
from importlib import import_module
from typing import NamedTuple

from .verdict import REFUSED, RIGHT, UNCLEAR

TARGETS = ("moe_layers", "options", "readers")
LONGEST = 120.0  # seconds of one case, after which it hangs


class Report(NamedTuple):
    """What a target came to: how often each word, and the cases that were unclear."""

    target: str
    counts: Counter
    unclear: list[tuple[int, str]]  # number of the case, what was wrong

    @property
    def tried(self) -> int:
        return self.counts[RIGHT] + self.counts[REFUSED] + self.counts[UNCLEAR]


def run(target: str, seconds: float, seed: int, first: int = 0, show=lambda report: None) -> Report:
    """Try cases for some time; a process that died is followed by another one."""
    report = Report(target, Counter(), [])
    end, number = time.monotonic() + seconds, first
    while time.monotonic() < end:
        number = _run_process(report, end, seed, number, show)
    return report


def _run_process(report, end, seed, number, show):
    """Cases of one process; returns the number of the next one."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(report.target, seed, number, end, theirs), daemon=True
    )
    process.start()
    theirs.close()
    started = False
    try:
        while True:
            # The first case waits for the imports.
            if not ours.poll(LONGEST * (1 if started else 5)):
                process.kill()
                _count(report, number, UNCLEAR, f"hangs: no result within {LONGEST:.0f} seconds")
                return number + 1
            number, kind, detail = json.loads(ours.recv_bytes())
            started = True
            _count(report, number, kind, detail)
            show(report)
            number += 1
    except EOFError:
        process.join()
        if process.exitcode == 0:
            return number
        _count(report, number, UNCLEAR, f"the process died with exit code {process.exitcode}")
        return number + 1


def _count(report, number, kind, detail):
    report.counts[kind] += 1
    if kind == UNCLEAR:
        report.unclear.append((number, detail))


def _work(target, seed, number, end, pipe):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module = import_module(f"fuzz.{target}")
    while True:  # one case at least
        kind, detail = judge(module, seed, number)
        pipe.send_bytes(json.dumps([number, kind, detail]).encode())
        number += 1
        if time.monotonic() >= end:
            return


def judge(module, seed: int, number: int) -> tuple[str, str]:
    """One case of a target, which follows from its seed and number alone."""
    import numpy as np

    case = module.draw(np.random.default_rng([seed, number]))
    try:
        return module.check(case)
    except Exception:  # of the check itself
        return UNCLEAR, f"{case}\n{traceback.format_exc()}"
