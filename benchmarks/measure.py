"""How the benchmarks measure: interleaved times, and the memory of a step."""

import time

import numpy as np
import tensorflow as tf


def interleaved(steps, rounds, rng, clock=time.perf_counter) -> dict:
    """Seconds of each step by a clock, `<float64>[rounds]` by name.

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
            start = clock()
            steps[names[index]]()
            times[names[index]][turn] = clock() - start
    return times


def ratio(times, name, base) -> float:
    """Median over rounds of one step's time over another's in the same round."""
    return float(np.median(times[name] / times[base]))


def peak_bytes(step, repeats) -> float:
    """Peak of what TensorFlow's allocator hands out during a step, above what it held before.

    The median over repeats: the peak depends on the order in which threads take up operations.
    The process's own size would say less: the allocator keeps what was freed for the next user.

    Raises:
        ValueError: the allocator keeps no statistics, as on CPUs without oneDNN.
    """
    step()
    peaks = []
    for _ in range(repeats):
        tf.config.experimental.reset_memory_stats("CPU:0")
        before = tf.config.experimental.get_memory_info("CPU:0")["current"]
        step()
        peaks.append(tf.config.experimental.get_memory_info("CPU:0")["peak"] - before)
    return float(np.median(peaks))
