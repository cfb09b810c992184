"""Whether a layer gave what its reference gives, within the rounding of its precision."""

import numpy as np
import tensorflow as tf

from fuzz.layer_step import ROUNDING, Results
from fuzz.verdict import RIGHT, UNCLEAR, Verdict

EXACT = 1e-4  # of losses and statistics, which are float32 in every precision


def compare(case, expected: Results, got: Results, exact=EXACT) -> Verdict:
    """Right if everything agrees, else what is off first."""
    names = ["outputs", *(f"gradient {i}" for i in range(len(expected.gradients)))]
    fast, slow = [[x.outputs, *x.gradients] for x in (got, expected)]
    checks = [(*triple, ROUNDING[case["policy"]]) for triple in zip(names, fast, slow, strict=True)]
    checks.append(("loss", got.loss, expected.loss, exact))
    checks += [(name, got.counts[name], slow, exact) for name, slow in expected.counts.items()]
    wrong = [said for check in checks if (said := _difference(*check))]
    return Verdict(UNCLEAR, wrong[0]) if wrong else Verdict(RIGHT)


def _difference(name, fast, slow, tolerance):
    """What is wrong with an array, if anything."""
    fast, slow = np.asarray(tf.cast(fast, tf.float64)), np.asarray(slow, np.float64)
    if fast.shape != slow.shape:
        return f"{name}: shape {fast.shape} in place of {slow.shape}"
    allowed = tolerance * max(1.0, np.abs(slow).max(initial=0.0))
    off = np.abs(slow - fast).max(initial=0.0)
    if off <= allowed:
        return ""
    values = f": {fast} in place of {slow}" if slow.size < 10 else ""
    return f"{name}: off by {off:.3g}, allowed {allowed:.3g}{values}"
