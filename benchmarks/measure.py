"""How the benchmarks measure: interleaved times, and the peak memory of a process."""

import time
from pathlib import Path

import numpy as np


def interleaved(steps, rounds, rng) -> dict[str, np.ndarray]:
    """Seconds of each step, `<float64>[rounds]` by name.

    In every round all steps run once, in random order: what disturbs the machine disturbs them alike, and a ratio of
    two steps' times in the same round means something where the times themselves do not.
    """
    for step in steps.values():
        for _ in range(2):
            step()
    times = {name: np.zeros(rounds) for name in steps}
    for turn in range(rounds):
        for name in rng.permutation(list(steps)):
            start = time.perf_counter()
            steps[name]()
            times[name][turn] = time.perf_counter() - start
    return times


def ratio(times, name, base) -> float:
    """Median over rounds of one step's time over another's."""
    return float(np.median(times[name] / times[base]))


def resident_bytes(field) -> int:
    """`VmRSS` (memory now) or `VmHWM` (its peak) of this process. Linux only.

    `getrusage` is no help here: a child starts with its parent's peak.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"Expected a field of /proc/self/status. Received: field={field!r}.")
