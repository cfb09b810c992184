"""Which tokens each expert computes, from the references."""

import math
from fractions import Fraction

import numpy as np

from reference import moe as reference

FACTOR_PLACES = 10_000  # a factor is a fraction with at most this denominator
ENDLESS = 10**6


def routed(case, scores, real):
    """`<float64>[G, S, E]`, 1 where an expert computes a token, and `[E]`, how many asked."""
    count = case["arguments"]["num_experts"]
    kept, demand = np.zeros((*real.shape, count)), np.zeros(count)
    for g in range(len(real)):
        limit = _limit(case, int(real[g].sum()), real.shape[1])
        draws = [None if x is None else x[g] for x in (scores.uniform, scores.gumbel)]
        given = scores.logits[g], real[g], scores.policy, draws
        plan, asked = _plan(case, limit, *given), _plan(case, ENDLESS, *given)
        for choice, token in np.argwhere(plan.kept):
            kept[g, token, plan.experts[choice, token]] = 1.0
        demand += np.bincount(asked.experts[asked.kept], minlength=count)[:count]
    return kept, demand


def _limit(case, real, size):
    """The capacity of an expert for a group."""
    arguments = case["arguments"]
    if case["router"] == "softmax":
        return None
    if arguments["expert_capacity"] is not None:
        return min(arguments["expert_capacity"], size)
    factor = arguments["capacity_factor" if case["training"] else "eval_capacity_factor"]
    if factor is None:
        return real
    share = Fraction(factor).limit_denominator(FACTOR_PLACES)
    share *= Fraction(arguments["top_k"] * real, arguments["num_experts"])
    return max(arguments["min_capacity"], math.ceil(share))


def _plan(case, limit, logits, real, policy, draws):
    kind, count = case["router"], logits.shape[1]
    if kind == "softmax":
        experts = np.repeat(np.arange(count)[:, None], len(logits), 1)
        kept = np.repeat(real[None], count, 0)
        return reference.Plan(experts, np.zeros(kept.shape), experts, kept)
    top_k, priority = case["arguments"]["top_k"], case["arguments"]["batch_priority"]
    if kind == "switch":
        return reference.switch_plan(logits, limit, real, top_k, priority)
    if kind == "noisy" or top_k != 2 or priority:
        if policy == "none":
            # First choices alone take places; the gates of a batch's order count all K.
            whole = reference.noisy_top_k_plan(logits, ENDLESS, real, top_k)
            first = np.where(np.arange(top_k)[:, None] == 0, whole.experts, count)
            return reference.fill(first, whole.gates, count, limit, priority)
        return reference.noisy_top_k_plan(logits, limit, real, top_k, priority)
    probabilities = np.array([reference.softmax(row) for row in logits]).reshape(-1, count)
    threshold = case["arguments"]["second_expert_threshold"]
    return reference.algorithm_1(probabilities, limit, policy, *draws, threshold, real)


def weighed(case, scores):
    """`<bool>[G, S, E]`, the experts over which a token's gates are normalized."""
    logits, gumbel = scores.logits, scores.gumbel
    if case["router"] in ("switch", "softmax"):
        return np.ones(logits.shape, bool)
    chosen = np.zeros(logits.shape, bool)
    top_k = case["arguments"]["top_k"]
    for group, token in np.ndindex(logits.shape[:2]):
        row = logits[group, token]
        best = reference.top(row, top_k)
        if gumbel is not None:
            noisy = reference.top(row + gumbel[group, token], len(row))
            best = [best[0], *[e for e in noisy if e != best[0]][: top_k - 1]]
        chosen[group, token, best] = True
    return chosen
