"""Slow NumPy versions of the layers for several tasks, one row at a time, in float64.

As in `reference.py` nothing is fast and nothing is shared with the library. Letters: D width of a
row, T tasks, E experts, U units of an expert, K selectors of a gate. An expert is a function from a
row to its outputs, such as an `mlp` of some weights; a gate one to the weights of experts.
"""

from collections.abc import Callable

import numpy as np

from reference import moe as reference

Array = np.ndarray
Network = Callable[[Array], Array]


def mlp(x: Array, layers: list[tuple[Array, Array]], activation: Network = reference.relu) -> Array:
    """a(... a(x W_1 + b_1) ... W_L + b_L): the last layer is activated too."""
    for kernel, bias in layers:
        x = activation(x @ kernel + bias)
    return x


def softmax_gate(x: Array, kernel: Array) -> Array:
    """softmax(W x): `[E]`."""
    return reference.softmax(x @ kernel)


def mixture(weights: Array, outputs: list[Array]) -> Array:
    """sum_e weight_e output_e."""
    total = np.zeros_like(outputs[0])
    for weight, output in zip(weights, outputs, strict=True):
        total = total + weight * output
    return total


# === Ma et al. 2018 ===


def mmoe(x: Array, experts: list[Network], gates: list[Network]) -> Array:
    """f^t(x) = sum_e g^t(x)_e f_e(x): `[T, U]` of one row, with a gate for each task."""
    outputs = [expert(x) for expert in experts]
    return np.stack([mixture(gate(x), outputs) for gate in gates])


# === Tang et al. 2020 ===


def cgc_level(own_rows: list, shared_row: Array, own: list, shared: list, gates: list, shared_gate):
    """One level: each task's row, and the shared one if there is a gate for it."""
    own_outputs = [[e(x) for e in experts] for x, experts in zip(own_rows, own, strict=True)]
    shared_outputs = [expert(shared_row) for expert in shared]
    tasks = [
        mixture(gate(x), outputs + shared_outputs)
        for x, gate, outputs in zip(own_rows, gates, own_outputs, strict=True)
    ]
    if shared_gate is None:
        return tasks, None
    everything = [y for outputs in own_outputs for y in outputs] + shared_outputs
    return tasks, mixture(shared_gate(shared_row), everything)


def ple(x: Array, levels: list) -> Array:
    """Levels of `(own, shared, gates, shared_gate)`, the last without shared gate: `[T, U]`."""
    tasks, shared = [x] * len(levels[0][0]), x
    for level in levels:
        tasks, shared = cgc_level(tasks, shared, *level)
    return np.stack(tasks)


# === Misra et al. 2016 ===


def cross_stitch(x: Array, layers: list[list[Network]], stitches: list[Array]) -> Array:
    """After each layer of all T networks: h^t <- sum_s alpha_ts h^s. `[T, U]` of one row."""
    tasks = [x] * len(layers[0])
    for layer, alpha in zip(layers, stitches, strict=True):
        tasks = [network(h) for h, network in zip(tasks, layer, strict=True)]
        tasks = [mixture(row, tasks) for row in alpha]
    return np.stack(tasks)


# === Hazimeh et al. 2021 ===


def smooth_step(t: float, gamma: float) -> float:
    """S(t): 0, a cubic, 1."""
    if t <= -gamma / 2:
        return 0.0
    if t >= gamma / 2:
        return 1.0
    return -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5


def selector(code: Array, count: int, gamma: float) -> Array:
    """r(z)_e: the product over bits b of S(z_b) where e has the bit, else 1 - S(z_b)."""
    weights = np.ones(count)
    for expert in range(count):
        for bit, z in enumerate(code):
            step = smooth_step(z, gamma)
            weights[expert] *= step if expert & (1 << bit) else 1 - step
    return weights


def dselect_k(alpha: Array, codes: Array, count: int, gamma: float) -> Array:
    """q = sum_i softmax(alpha)_i r(z_i): `[E]` of one row and task."""
    return mixture(reference.softmax(alpha), [selector(code, count, gamma) for code in codes])


def entropy(weights: Array) -> float:
    """-sum_e w_e log w_e, with 0 log 0 = 0."""
    return -sum(w * np.log(w) for w in weights if w > 0)
