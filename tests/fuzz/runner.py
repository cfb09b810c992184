"""Runs the cases of a target in a process of its own, which may crash or hang without harm."""

import json
import multiprocessing
import os
import time
import traceback
from collections import Counter
from importlib import import_module
from typing import NamedTuple

from fuzz.verdict import REFUSED, RIGHT, UNCLEAR

LONGEST = 120.0  # seconds of one case, after which it hangs
LONGEST_START = 600.0  # of the imports


class Report(NamedTuple):
    """What a target came to: how often each word, and the cases that were unclear."""

    module: str
    counts: Counter
    unclear: list[tuple[int, str]]  # number of the case, what was wrong

    @property
    def tried(self) -> int:
        return self.counts[RIGHT] + self.counts[REFUSED] + self.counts[UNCLEAR]


def run(
    module: str, seconds: float, seed: int, longest: float = LONGEST, show=lambda *case: None
) -> Report:
    """Try cases of a module for some time; a process that died is followed by another one.

    The time begins after the first imports, which take as long as many cases. `show` gets the
    report after each case, with the number of the case, its kind and the detail.
    """
    report = Report(module, Counter(), [])
    number, left, end = 0, seconds, None
    while left > 0:
        with _Worker(module, seed, number, left) as worker:
            end = end or time.monotonic() + seconds
            number = _collect(report, worker, number, longest, show)
            left = end - time.monotonic()
    return report


class _Worker:
    """A process that has imported the module and tries its cases from a number on."""

    def __init__(self, module, seed, number, seconds):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        arguments = (module, seed, number, seconds, theirs)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        try:
            if self.receive(LONGEST_START) == "ready":
                return
        except EOFError:
            pass
        self.__exit__()
        raise RuntimeError(f"The process for {module} does not start: see what it printed.")

    def receive(self, seconds):
        """The next message, `None` if there is none in time; raises EOFError if it died."""
        return json.loads(self.pipe.recv_bytes()) if self.pipe.poll(seconds) else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _collect(report, worker, number, longest, show):
    """Count the cases of one process; returns the number of the next one."""
    alive = True
    while alive:
        try:
            message = worker.receive(longest)
            alive = message is not None
        except EOFError:
            worker.process.join()
            alive = False
            message = UNCLEAR, f"the process died with exit code {worker.process.exitcode}"
        if message == "done":
            return number
        kind, detail = message or (UNCLEAR, f"hangs: no result within {longest:g} seconds")
        report.counts[kind] += 1
        if kind == UNCLEAR:
            report.unclear.append((number, detail))
        show(report, number, kind, detail)
        number += 1
    return number


def _work(name, seed, number, seconds, pipe):
    """Send "ready", a verdict for each case, and "done": without it the process has died."""

    def send(message):
        pipe.send_bytes(json.dumps(message).encode())

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module = import_module(name)
    send("ready")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        send(judge(module, seed, number))
        number += 1
    send("done")


def judge(module, seed: int, number: int) -> tuple[str, str]:
    """One case of a target, which follows from its seed and number alone."""
    import numpy as np

    case = module.draw(np.random.default_rng([seed, number]))
    try:
        return module.check(case)
    except Exception:  # of the check itself
        return UNCLEAR, f"{case}\n{traceback.format_exc()}"
