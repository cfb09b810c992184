"""The gates of several tasks, one row at a time, and what their losses and statistics count."""

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fuzz.layer_step import drawn
from reference import moe as reference
from reference import tasks as reference_tasks

CLOSEST = 1e-4  # what is nearer to a kink or to another choice is a tie in float32


class Tie(Exception):
    """The case hangs on less than float32 can tell apart."""


class Draws(NamedTuple):
    """What a gate draws for a batch, and its sizes."""

    num_tasks: int
    num_experts: int
    noise: Any = None  # [T, B, E]
    mask: Any = None  # [T, E], experts that are not left out


class Weighed(NamedTuple):
    """One row and task: `[E]` each, but for the selectors `[K, E]`."""

    gates: Any  # without dropout
    probabilities: Any
    chances: Any = None  # of each expert to be chosen if the noise were drawn again
    selectors: Any = None
    used: Any = None  # the gates with dropout


def draws_of(case, gate) -> Draws:
    """The draws that the seed of a gate gives for its first batch."""
    draws = Draws(gate.num_tasks, gate.num_experts)
    if not case["training"]:
        return draws
    twin = keras.random.SeedGenerator(gate.seed)
    if case["gate"] == "NoisyTopKGate":
        shape = draws.num_tasks, case["rows"], draws.num_experts
        noise = drawn(case, tf.random.stateless_normal, shape, twin.next())
        draws = draws._replace(noise=noise)
    rate = case["arguments"]["gate.dropout"]
    if rate:
        chances = drawn(case, tf.random.stateless_uniform, draws[:2], twin.next())
        kept = (chances >= np.float32(rate)) | (chances == chances.max(-1, keepdims=True))
        draws = draws._replace(mask=kept.astype(np.float64))
    return draws


class SlowGate:
    """A gate with the weights `<float64>` by name; `notes` hold what it gave, by row and task."""

    def __init__(self, case, weights, draws):
        self.kind, self.training, self.rows = case["gate"], case["training"], case["rows"]
        self.settings = {
            name.removeprefix("gate."): value
            for name, value in case["arguments"].items()
            if name.startswith("gate.")
        }
        self.weights, self.draws = weights, draws
        self.notes = {}

    def of(self, row, task=0):
        """The gate of a row and task: a function from the row to `[E]`."""
        return partial(self._weigh, row, task)

    def _weigh(self, row, task, x):
        weighed = self.FORMULAS[self.kind](self, row, task, *self._logits(task, x))
        used = weighed.gates
        if self.draws.mask is not None:
            used = _dropped(used, self.draws.mask[task])
        self.notes[row, task] = weighed._replace(used=used)
        return used

    def _logits(self, task, x):
        """The logits of a task, and the hidden values that they are linear in."""
        if not self.settings.get("per_example", True):
            x = np.ones(1)
        last = len(self.settings["hidden_dims"])
        for number in range(last + 1):
            hidden, x = x, x @ self.weights[f"kernel_{number}"][task]
            if self.settings["use_bias"]:
                x = x + self.weights[f"bias_{number}"][task]
            if number < last:
                _refuse_ties(x)
                x = reference.relu(x)
        return x / self.settings["temperature"], hidden

    def _softmax(self, row, task, logits, hidden):
        gates = reference.softmax(logits)
        return Weighed(gates, gates)

    def _noisy_top_k(self, row, task, logits, hidden):
        noisy, top_k, chances = logits, self.settings["top_k"], None
        if self.training:
            raw = hidden @ self.weights["noise_kernel"][task]
            deviation = np.maximum(np.logaddexp(0.0, raw), 1e-6)
            noisy = logits + self.draws.noise[task, row] * deviation
            chances = reference.load_probability(logits, noisy, deviation, top_k)
        _refuse_ties(np.diff(np.sort(noisy)))
        gates = reference.noisy_top_k_gates(noisy, top_k)
        return Weighed(gates, reference.softmax(logits), chances)

    def _dselect_k(self, row, task, logits, hidden):
        top_k, gamma, count = self.settings["top_k"], self.settings["gamma"], self.draws.num_experts
        codes = logits[top_k:].reshape(top_k, -1)
        _refuse_ties((abs(codes) - gamma / 2) / gamma / 10)  # experts of next to no weight
        selectors = np.array([reference_tasks.selector(code, count, gamma) for code in codes])
        reached = selectors.sum(-1)
        if (reached < 0.01).any():  # codes of no expert, of which no digit is sure
            raise Tie
        gates = reference_tasks.mixture(reference.softmax(logits[:top_k]), list(selectors))
        return Weighed(gates, gates / gates.sum(), selectors=selectors)

    FORMULAS = {
        "SoftmaxGate": _softmax,
        "NoisyTopKGate": _noisy_top_k,
        "DSelectKGate": _dselect_k,
    }

    def loss(self):
        """The weighted losses of all rows and tasks."""
        notes = list(self.notes.values())
        if not self.training or not notes:
            return 0.0

        def weight(name):
            return self.settings.get(f"{name}_loss_weight", 0.0)

        if self.kind == "NoisyTopKGate":
            importance = weight("importance") * reference.cv_squared(sum(x.gates for x in notes))
            return importance + weight("load") * reference.cv_squared(sum(x.chances for x in notes))
        total, count = 0.0, self.draws.num_experts
        for selector in [s for x in notes for s in ([] if x.selectors is None else x.selectors)]:
            total += weight("entropy") * reference_tasks.entropy(selector) / self.rows
            if count & (count - 1):  # no power of 2
                total += weight("reach") / (sum(selector) + 1e-6) / self.rows
        return total

    def counts(self):
        """The statistics of each task."""
        found = {}
        for task in range(self.draws.num_tasks):
            notes = [x for (_, t), x in self.notes.items() if t == task]
            name = f"task_{task}"
            used = np.array([x.used for x in notes]).reshape(-1, self.draws.num_experts)
            found[f"demand of {name}"] = (used > 0).sum(0)
            found[f"importance of {name}"] = used.sum(0)
            entropies = [reference_tasks.entropy(x.probabilities) for x in notes]
            found[f"entropy of {name}"] = sum(entropies) / max(len(notes), 1)
        return found


def _refuse_ties(distances):
    if (abs(distances) < CLOSEST).any():
        raise Tie


def _dropped(gates, mask):
    """Gates of the experts that are left, which sum to what all did; equal ones if all were 0."""
    kept = gates * mask
    if kept.sum() == 0:
        return gates.sum() * mask / mask.sum()
    if kept.sum() < 0.01:  # and no digit of them sure
        raise Tie
    return kept * gates.sum() / kept.sum()
