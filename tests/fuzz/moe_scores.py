"""What a router scores experts by: logits, noise and draws, and whether float32 can tell them."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fuzz.layer_step import drawn

CLOSEST = 1e-4  # logits nearer than this are a tie in float32


class Scores(NamedTuple):
    """Arrays `<float64>[G, S, E]`; `None` for what a router does not draw."""

    clean: Any
    logits: Any  # with noise
    deviation: Any = None
    noise: Any = None
    policy: str | None = None  # of second experts
    uniform: Any = None  # [G, S]
    gumbel: Any = None


def in_groups(case, inputs, mask):
    """Tokens [G, S, D], which of them a router sees, and how many are the layer's inputs."""
    width = inputs.shape[-1]
    total = math.prod(inputs.shape[:-1])
    real = np.ones(inputs.shape[:-1], bool) if mask is None else mask
    if case["arguments"]["route_padding"]:
        real = np.ones_like(real)
    if case["by_row"]:
        rows, size = inputs.shape[0], math.prod(inputs.shape[1:-1])
        return inputs.reshape(rows, size, width), real.reshape(rows, size), total
    group = case["arguments"]["group_size"]
    size = total if group is None else max(min(group, total), 1)
    missing = 0 if group is None else -total % size
    tokens = np.concatenate([inputs.reshape(-1, width), np.zeros((missing, width))])
    real = np.concatenate([real.reshape(-1), np.zeros(missing, bool)])
    groups = 1 if group is None else len(tokens) // size
    return tokens.reshape(groups, size, width), real.reshape(groups, size), total


def scores_of(case, tokens, weights) -> Scores:
    """The logits, with the draws that the router's seed gives."""
    clean = tokens @ weights["kernel"]
    twin = keras.random.SeedGenerator(case["seed"] % 1000)
    scores = Scores(clean, clean, policy=case["arguments"].get("second_expert_policy"))
    if case["router"] == "noisy":
        deviation = np.maximum(np.logaddexp(0.0, tokens @ weights["noise_kernel"]), 1e-6)
        if not case["training"]:
            return scores._replace(deviation=deviation)
        noise = drawn(case, tf.random.stateless_normal, clean.shape, twin.next())
        return scores._replace(logits=clean + noise * deviation, deviation=deviation, noise=noise)
    if scores.policy not in ("random", "sampling"):
        return scores
    if not case["training"]:
        return scores._replace(policy="all")
    if scores.policy == "random":
        shape = (len(clean), 2, clean.shape[1])
        uniform = drawn(case, tf.random.stateless_uniform, shape, twin.next())[:, 1]
        return scores._replace(uniform=uniform)
    share = drawn(case, tf.random.stateless_uniform, clean.shape, twin.next(), 1e-20, 1.0)
    return scores._replace(gumbel=-np.log(-np.log(share)))


def is_tie(case, scores, real):
    """Whether two experts, or two tokens in their queue, or a draw, are too near to call."""
    if case["router"] == "softmax" or scores.logits.shape[-1] < 2:
        return False
    ordered = [scores.logits]
    if scores.gumbel is not None:
        ordered.append(scores.logits + scores.gumbel)
    if any((np.diff(np.sort(x, -1), axis=-1) < CLOSEST)[real].any() for x in ordered):
        return True
    peak = scores.logits.max(-1, keepdims=True)
    weights = np.exp(scores.logits - peak)
    weights = np.sort(weights / weights.sum(-1, keepdims=True), -1)
    if scores.policy in ("random", "threshold") and _second_is_tie(case, scores, weights, real):
        return True
    return case["arguments"]["batch_priority"] and _queue_is_tie(case, weights, real)


def _second_is_tie(case, scores, weights, real):
    share = weights[..., -2] / (weights[..., -1] + weights[..., -2])
    border = case["arguments"]["second_expert_threshold"]
    if scores.policy == "random":
        border = scores.uniform / 2
    return (abs(share - border) < CLOSEST)[real].any()


def _queue_is_tie(case, weights, real):
    """First gates of one expert's tokens; the only gate of a token is 1, and no score."""
    top_k = case["arguments"]["top_k"]
    total = 1.0 if case["router"] == "switch" else weights[..., -top_k:].sum(-1)
    first = np.where(real, weights[..., -1] / total, np.nan)
    near = (np.diff(np.sort(first, -1), axis=-1) < CLOSEST).any()
    return near and (case["router"] == "switch" or top_k > 1)
