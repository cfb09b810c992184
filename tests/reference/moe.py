"""Slow NumPy versions of the papers, one token at a time, in float64.

Nothing here is fast and nothing is shared with the library: each function is the equation or the
algorithm of its paper, written as loops. Letters as in the library: S tokens in a group, D model
width, E experts, K choices of a token, C capacity, F hidden width. Everything works on one group;
a caller with several groups loops over them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Plan(NamedTuple):
    """Who goes where in one group. A place that no token took holds expert E and position -1."""

    experts: Array  # <int>[K, S]
    gates: Array  # <float64>[K, S], 0 unless kept
    positions: Array  # <int>[K, S], place within the expert's buffer
    kept: Array  # <bool>[K, S]


# === Elementary functions ===


def softmax(logits: Array) -> Array:
    """exp(x_i) / sum_j exp(x_j) of one vector; -inf counts as weight zero."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - np.max(logits))
    return weights / np.sum(weights)


def softplus(x: float) -> float:
    """log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def normal_cdf(x: float) -> float:
    """Phi(x), the distribution function of the standard normal."""
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


def top(values: Array, k: int) -> list[int]:
    """Indices of the k largest values, largest first; a tie goes to the lower index."""
    return sorted(range(len(values)), key=lambda index: (-values[index], index))[:k]


def cv_squared(values: Array) -> float:
    """Squared coefficient of variation: population variance over squared mean; 0 of all zeros."""
    values = np.asarray(values, np.float64)
    mean = sum(values) / len(values)
    if mean == 0.0:
        return 0.0
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2


# === Shazeer et al. 2017 ===


def noisy_logits(token: Array, gate: Array, noise_weights: Array, draw: Array) -> tuple:
    """H(x)_i = (x W_g)_i + n_i softplus((x W_noise)_i), equation 4: clean, noisy, deviation."""
    clean = np.array([sum(token * gate[:, i]) for i in range(gate.shape[1])])
    stddev = np.array([softplus(sum(token * noise_weights[:, i])) for i in range(gate.shape[1])])
    return clean, clean + np.asarray(draw) * stddev, stddev


def noisy_top_k_gates(logits: Array, k: int) -> Array:
    """G(x) = softmax(KeepTopK(H(x), k)), equations 3 and 5, dense over the experts."""
    kept = np.full(len(logits), -np.inf)
    for expert in top(logits, k):
        kept[expert] = logits[expert]
    return softmax(kept)


def load_probability(clean: Array, noisy: Array, stddev: Array, k: int) -> Array:
    """P(x, i) of equation 9; 1 where no k other experts exist to compete with."""
    count = len(clean)
    if count <= k:
        return np.ones(count)
    probabilities = np.zeros(count)
    for i in range(count):
        others = sorted((noisy[j] for j in range(count) if j != i), reverse=True)
        probabilities[i] = normal_cdf((clean[i] - others[k - 1]) / stddev[i])
    return probabilities


def sum_of_real(values: Array, mask: Array | None = None) -> Array:
    """sum_x value(x)_i over the tokens that are not masked: Importance or Load, equations 6, 10."""
    total = np.zeros(values.shape[-1])
    for token, row in enumerate(values):
        if mask is None or mask[token]:
            total += row
    return total


# === Fedus et al. 2022, Lepikhin et al. 2021, Zoph et al. 2022: losses ===


def balance_loss(probabilities: Array, mask: Array | None = None) -> float:
    """E sum_i f_i P_i of one group: f_i share of first choices, P_i mean probability."""
    real = [s for s in range(len(probabilities)) if mask is None or mask[s]]
    if not real:
        return 0.0
    count = probabilities.shape[1]
    total = 0.0
    for expert in range(count):
        fraction = sum(top(probabilities[s], 1)[0] == expert for s in real) / len(real)
        total += fraction * sum(probabilities[s, expert] for s in real) / len(real)
    return count * total


def gshard_loss(probabilities: Array, mask: Array | None = None) -> float:
    """l_aux = 1/E sum_e (c_e / S) m_e as Algorithm 1 prints it: 1/E^2 at the uniform router."""
    return balance_loss(probabilities, mask) / probabilities.shape[1] ** 2


def z_loss(logits: Array, mask: Array | None = None) -> float:
    """Mean over real tokens of (log sum_j exp x_j)^2."""
    terms = []
    for token, row in enumerate(logits):
        if mask is None or mask[token]:
            peak = max(row)
            terms.append((peak + math.log(sum(math.exp(x - peak) for x in row))) ** 2)
    return sum(terms) / len(terms) if terms else 0.0


# === Capacity and places ===


def capacity(real: int, experts: int, k: int, factor: float | None, minimum: int = 1) -> int:
    """How many tokens of a group with `real` unmasked tokens an expert takes; None is dropless."""
    if factor is None:
        return real
    return max(minimum, math.ceil(factor * k * real / experts))


def token_order(gates: Array, priority: bool) -> list[int]:
    """Token order, or with batch priority: tokens by their largest gate, largest first."""
    tokens = list(range(gates.shape[1]))
    return sorted(tokens, key=lambda s: -max(gates[:, s])) if priority else tokens


def fill(experts: Array, gates: Array, count: int, limit: int, priority: bool = False) -> Plan:
    """Gives places out: all first choices in token order, then all second ones, and so on."""
    taken = [0] * count
    positions = np.full(experts.shape, -1)
    kept = np.zeros(experts.shape, bool)
    for choice in range(experts.shape[0]):
        for token in token_order(gates, priority):
            expert = experts[choice, token]
            if expert < count and taken[expert] < limit:
                positions[choice, token] = taken[expert]
                kept[choice, token] = True
                taken[expert] += 1
    return Plan(np.where(kept, experts, count), np.where(kept, gates, 0.0), positions, kept)


def choose(values: Array, weigh: Callable, k: int, mask: Array | None = None) -> tuple:
    """Experts [K, S] and gates [K, S]: the top k of each row of `values`, weighed by `weigh`."""
    size, count = values.shape
    experts = np.full((k, size), count)
    gates = np.zeros((k, size))
    for token in range(size):
        if mask is None or mask[token]:
            best = top(values[token], k)
            experts[:, token] = best
            gates[:, token] = weigh(values[token], best)
    return experts, gates


def softmax_then_top(row: Array, best: list[int]) -> list[float]:
    """Switch and V-MoE: the softmax over all experts, not renormalized."""
    probabilities = softmax(row)
    return [probabilities[expert] for expert in best]


def top_then_softmax(row: Array, best: list[int]) -> list[float]:
    """Shazeer: the softmax over the chosen logits only; the gates sum to one."""
    return list(softmax(np.array([row[expert] for expert in best])))


# === Lepikhin et al. 2021, Algorithm 1 ===


def second_expert(probabilities: Array, first: int, gumbel: Array | None) -> int:
    """The best expert but the first; with Gumbel noise, drawn from the softmax without the first.

    Adding Gumbel noise to log p and taking the largest draws from p: the Gumbel-max trick.
    """
    scores = np.log(probabilities) if gumbel is None else np.log(probabilities) + gumbel
    return next(expert for expert in top(scores, len(scores)) if expert != first)


def second_is_sent(policy: str, gate: float, uniform: float, threshold: float) -> bool:
    """Whether a token goes to its second expert at all. `gate` is renormalized."""
    return {
        "all": True,
        "sampling": True,
        "none": False,
        "random": 2.0 * gate > uniform,
        "threshold": gate > threshold,
    }[policy]


def algorithm_1(
    probabilities: Array,
    limit: int,
    policy: str = "random",
    uniform: Array | None = None,
    gumbel: Array | None = None,
    threshold: float = 0.2,
    mask: Array | None = None,
) -> Plan:
    """GShard's group-level top-2 gating, line by line."""
    size, count = probabilities.shape
    experts = np.full((2, size), count)
    gates = np.zeros((2, size))
    positions = np.full((2, size), -1)
    counters = [0] * count  # c_e
    real = [s for s in range(size) if mask is None or mask[s]]
    pairs = {}
    for s in real:
        e1 = top(probabilities[s], 1)[0]
        e2 = second_expert(probabilities[s], e1, None if gumbel is None else gumbel[s])
        total = probabilities[s, e1] + probabilities[s, e2]
        pairs[s] = (e1, probabilities[s, e1] / total, e2, probabilities[s, e2] / total)
    for s in real:
        e1, g1, _, _ = pairs[s]
        if counters[e1] < limit:
            experts[0, s], gates[0, s], positions[0, s] = e1, g1, counters[e1]
        counters[e1] += 1  # also for a token that overflowed
    for s in real:
        _, _, e2, g2 = pairs[s]
        draw = 0.0 if uniform is None else uniform[s]
        if counters[e2] < limit and second_is_sent(policy, g2, draw, threshold):
            experts[1, s], gates[1, s], positions[1, s] = e2, g2, counters[e2]
            counters[e2] += 1
    return Plan(experts, gates, positions, positions >= 0)


# === One plan per router ===


def switch_plan(logits: Array, limit: int, mask=None, top_k=1, priority=False) -> Plan:
    """Switch: raw probabilities as gates."""
    experts, gates = choose(logits, softmax_then_top, top_k, mask)
    return fill(experts, gates, logits.shape[1], limit, priority)


def noisy_top_k_plan(logits: Array, limit: int, mask=None, top_k=2, priority=False) -> Plan:
    """Shazeer, with or without noise in the logits: gates that sum to one."""
    experts, gates = choose(logits, top_then_softmax, top_k, mask)
    return fill(experts, gates, logits.shape[1], limit, priority)


def gshard_plan(
    logits: Array, limit: int, mask=None, priority=False, policy="all", threshold=0.2
) -> Plan:
    """GShard: Algorithm 1, or with batch priority the same gates in another order."""
    if priority:  # renormalizing the two best of a softmax is the softmax of the two best
        assert policy == "all"
        return noisy_top_k_plan(logits, limit, mask, 2, priority)
    probabilities = np.array([softmax(row) for row in logits])
    return algorithm_1(probabilities, limit, policy, threshold=threshold, mask=mask)


# === Experts and the whole layer ===


def feed_forward(x: Array, w1: Array, b1: Array, w2: Array, b2: Array, activation) -> Array:
    """activation(x W1 + b1) W2 + b2 of one token."""
    return activation(x @ w1 + b1) @ w2 + b2


def gated_feed_forward(x, w_gate, b_gate, w1, b1, w2, b2, activation) -> Array:
    """(activation(x Wg + bg) * (x W1 + b1)) W2 + b2 of one token."""
    return (activation(x @ w_gate + b_gate) * (x @ w1 + b1)) @ w2 + b2


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def silu(x: Array) -> Array:
    """x / (1 + exp(-x))."""
    return x / (1.0 + np.exp(-x))


def moe(tokens: Array, plan: Plan, expert: Callable[[int, Array], Array]) -> Array:
    """y = sum_k gate_k E_k(x), one token of [S, D] at a time; nothing for what was not kept."""
    outputs = np.zeros((len(tokens), len(expert(0, np.zeros_like(tokens[0])))))
    for choice, token in np.argwhere(plan.kept):
        chosen = plan.experts[choice, token]
        outputs[token] += plan.gates[choice, token] * expert(chosen, tokens[token])
    return outputs


# === The textbook dispatch: the one place where [S, E, C] tensors are allowed ===


def one_hot(plan: Plan, count: int, limit: int) -> tuple[Array, Array]:
    """Dispatch [S, E, C] of zeros and ones, and combine [S, E, C] of gates."""
    dispatch = np.zeros((plan.kept.shape[1], count, limit))
    combine = np.zeros_like(dispatch)
    for choice, token in np.argwhere(plan.kept):
        place = (token, plan.experts[choice, token], plan.positions[choice, token])
        dispatch[place] = 1.0
        combine[place] = plan.gates[choice, token]
    return dispatch, combine


def numerical_gradient(function: Callable[[Array], float], x: Array, step=1e-6) -> Array:
    """Central differences of a scalar function, one element at a time, in float64."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2.0 * step)
    return gradient
