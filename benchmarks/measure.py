"""How the benchmarks measure: interleaved times, and the memory of a step."""

import ctypes
import gc
import time
from pathlib import Path

import numpy as np


def interleaved(steps, rounds, rng) -> dict:
    """Seconds of each step, `<float64>[rounds]` by name.

    In every round all steps run once, in random order: what disturbs the machine disturbs them
    alike, so that the ratio of two steps' times in a round means something where the times do not.
    """
    names = list(steps)
    for name in names:
        for _ in range(2):
            steps[name]()
    times = {name: np.zeros(rounds) for name in names}
    for turn in range(rounds):
        for index in rng.permutation(len(names)):
            start = time.perf_counter()
            steps[names[index]]()
            times[names[index]][turn] = time.perf_counter() - start
    return times


def ratio(times, name, base) -> float:
    """Median over rounds of one step's time over another's in the same round."""
    return float(np.median(times[name] / times[base]))


def peak_bytes(step) -> int:
    """Peak memory of a step above what the process holds before it. Linux only.

    Free memory goes back to the system first, or the step would use it unseen. The peak is this
    process's own, reset before the step: that of `getrusage` starts with the parent's.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def _status(field):
    """A figure of `/proc/self/status`, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"Expected a field of /proc/self/status. Received: field={field!r}.")
