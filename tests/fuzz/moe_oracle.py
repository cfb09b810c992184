"""What the papers say about a mixture of experts: outputs, gradients, loss, load and demand."""

import numpy as np
import tensorflow as tf

from fuzz.layer_step import Results, upstream, weights_of, zeros_for_none
from fuzz.moe_plans import routed, weighed
from fuzz.moe_scores import in_groups, is_tie, scores_of
from reference import moe as reference


def expect(case, layer, inputs, mask):
    """What a step should give; `None` of a case whose choices are a tie."""
    tokens, real, total = in_groups(case, inputs.astype(np.float64), mask)
    weights = {path.split("/")[-1]: value for path, value in weights_of(layer).items()}
    scores = scores_of(case, tokens, weights)
    if is_tie(case, scores, real):
        return None
    kept, demand = routed(case, scores, real)
    outputs, gradients = _differentiate(case, weights, scores, kept, total, inputs)
    loss = _loss(case, scores, real) if case["training"] else 0.0
    return Results(outputs, gradients, loss, {"load": kept.sum((0, 1)), "demand": demand})


def _differentiate(case, weights, scores, kept, total, inputs):
    """All experts of all tokens in float64, weighed by the plan: outputs and gradients."""
    variables = {name: tf.constant(value) for name, value in weights.items()}
    x = tf.constant(inputs, tf.float64)
    chosen = weighed(case, scores)
    groups, size = kept.shape[:2]
    with tf.GradientTape() as tape:
        tape.watch([x, *variables.values()])
        flat = tf.reshape(x, [total, inputs.shape[-1]])
        flat = tf.pad(flat, [[0, groups * size - total], [0, 0]])
        rows = tf.reshape(flat, [groups, size, inputs.shape[-1]])
        logits = rows @ variables["kernel"]
        if scores.noise is not None:
            deviation = tf.math.softplus(rows @ variables["noise_kernel"])
            logits += scores.noise * tf.maximum(deviation, 1e-6)
        gates = tf.nn.softmax(tf.where(chosen, logits, -np.inf))
        every = _experts(case, rows, variables)  # [G, S, E, F]
        summed = tf.einsum("gse,gsef->gsf", gates * kept, every)
        outputs = tf.reshape(summed, [-1, 2])[:total]
        outputs = tf.reshape(outputs, [*inputs.shape[:-1], 2])
        value = tf.reduce_sum(outputs * upstream(case, outputs.shape))
    sources = [x, *variables.values()]
    return outputs, zeros_for_none(tape.gradient(value, sources), sources)


def _experts(case, rows, weights):
    def dense(x, name):
        x = tf.einsum("gsd,edf->gsef" if len(x.shape) == 3 else "gsed,edf->gsef", x, weights[name])
        bias = weights.get(name.replace("kernel", "bias"))
        return x if bias is None else x + bias

    if case["experts"] == "mlp":
        return tf.tanh(dense(tf.tanh(dense(rows, "kernel_0")), "kernel_1"))
    hidden = dense(rows, "kernel_in")
    if case["experts"] == "gated":
        hidden *= tf.tanh(dense(rows, "kernel_gate"))
    else:
        hidden = tf.tanh(hidden)
    return dense(hidden, "kernel_out")


def _loss(case, scores, real):
    """The weighted auxiliary losses, from the references."""

    def weight(name):
        return case["arguments"].get(f"{name}_loss_weight", 0.0)

    clean, count = scores.clean, scores.clean.shape[-1]
    total = weight("z") * reference.z_loss(clean.reshape(-1, count), real.reshape(-1))
    used = [g for g in range(len(real)) if real[g].any()]
    if weight("balance") and used:
        losses = [
            reference.balance_loss(np.array([reference.softmax(row) for row in clean[g]]), real[g])
            for g in used
        ]
        total += weight("balance") * sum(losses) / len(used)
    importance, load = np.zeros(count), np.zeros(count)
    if case["router"] == "noisy":
        top_k = case["arguments"]["top_k"]
        for token in map(tuple, np.argwhere(real)):
            noisy, deviation = scores.logits[token], scores.deviation[token]
            importance += reference.noisy_top_k_gates(noisy, top_k)
            load += reference.load_probability(clean[token], noisy, deviation, top_k)
        total += weight("importance") * reference.cv_squared(importance)
        total += weight("load") * reference.cv_squared(load)
    return total
