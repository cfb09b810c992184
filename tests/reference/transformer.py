"""Transformers in NumPy, number by number in float64, written from the papers.

Weights come as a `dict` of arrays by path, as `weights_of` reads them off a layer.
"""

import math

import numpy as np


def weights_of(layer):
    """The trainable weights in float64, by their path below the layer."""
    return {
        weight.path.removeprefix(f"{layer.path}/"): np.asarray(weight, np.float64)
        for weight in layer.trainable_weights
    }


def below(weights, prefix):
    """Those whose path begins with `prefix/`, without it."""
    start = f"{prefix}/"
    return {path[len(start) :]: w for path, w in weights.items() if path.startswith(start)}


# === Positions ===


def bucket(distance, num_buckets, max_distance, bidirectional):
    """T5, section 2.1: near distances one by one, far ones in ranges that grow by a factor."""
    start = 0
    if bidirectional:
        num_buckets //= 2
        if distance > 0:
            start = num_buckets
        distance = abs(distance)
    else:
        distance = max(0, -distance)
    near = num_buckets // 2
    if distance < near:
        return start + distance
    fraction = math.log(distance / near) / math.log(max_distance / near)
    return start + min(num_buckets - 1, near + int(fraction * (num_buckets - near)))


def position_bias(table, queries, keys, max_distance, causal):
    """`[H][q][k]`."""
    buckets, heads = table.shape
    bias = np.zeros((heads, len(queries), len(keys)))
    for i, query in enumerate(queries):
        for j, key in enumerate(keys):
            bias[:, i, j] = table[bucket(key - query, buckets, max_distance, not causal)]
    return bias


def rotated(vector, position, base):
    """Each pair (i, i + d/2) as a complex number, times `e^(i position base^(-2i/d))`."""
    size = len(vector)
    turned = np.zeros(size)
    for i in range(size // 2):
        angle = position * base ** (-2 * i / size)
        z = complex(vector[i], vector[i + size // 2]) * complex(math.cos(angle), math.sin(angle))
        turned[i], turned[i + size // 2] = z.real, z.imag
    return turned


# === Layers ===


def softmax(scores):
    exponentials = np.exp(scores - np.max(scores))
    return exponentials / exponentials.sum()


def dense(weights, x):
    return x @ weights["kernel"] + weights.get("bias", 0.0)


def attention(
    weights, x, memory, heads, kv_heads=None, scale=None, bias=None, seen=None, base=None
):
    """One row: `[Q, D]`, `[L, D]` -> `[Q, D]`.

    Args:
        weights: of `query`, `key`, `value`, `output`.
        x: `[Q, D]`.
        memory: `[L, D]`.
        heads: of queries.
        kv_heads: of keys and values.
        scale: of the scores.
        bias: `[H, Q, L]` or `None`.
        seen: function of (q, k), whether q may look at k.
        base: of rotary positions, or `None`.
    """
    kv_heads = kv_heads or heads
    queries, keys, values = (
        dense(below(weights, name), rows)
        for name, rows in (("query", x), ("key", memory), ("value", memory))
    )
    size = queries.shape[1] // heads
    scale = size**-0.5 if scale is None else scale
    found = np.zeros_like(queries)
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        g = h * kv_heads // heads
        shared = slice(g * size, (g + 1) * size)
        for q in range(len(x)):
            visible = [k for k in range(len(memory)) if seen is None or seen(q, k)]
            scores = []
            for k in visible:
                a, b = queries[q, own], keys[k, shared]
                if base is not None:
                    a, b = rotated(a, q, base), rotated(b, k, base)
                scores.append(scale * (a @ b) + (0.0 if bias is None else bias[h, q, k]))
            for k, weight in zip(visible, softmax(np.array(scores)), strict=True):
                found[q, own] += weight * values[k, shared]
    return dense(below(weights, "output"), found)


def rms_norm(scale, x, epsilon=1e-6):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + epsilon) * scale


def relu(x):
    return np.maximum(x, 0.0)


def silu(x):
    return x / (1.0 + np.exp(-x))


def feed_forward(weights, x):
    """`relu(x W_in) W_out`, or with a gate `(silu(x W_gate) * (x W_in)) W_out`."""
    hidden = dense(below(weights, "hidden"), x)
    gate = below(weights, "gate")
    hidden = silu(dense(gate, x)) * hidden if gate else relu(hidden)
    return dense(below(weights, "output"), hidden)


def switch(weights, x):
    """Each token by its most probable expert, times that probability; nothing is dropped."""
    router, experts = below(weights, "switch_router"), below(weights, "feed_forward_experts")
    output = np.zeros_like(x)
    for t, token in enumerate(x):
        probabilities = softmax(token @ router["kernel"])
        e = int(np.argmax(probabilities))
        hidden = relu(token @ experts["kernel_in"][e] + experts["bias_in"][e])
        output[t] = probabilities[e] * (hidden @ experts["kernel_out"][e] + experts["bias_out"][e])
    return output


def block(weights, x, memory, options, seen, seen_memory, bias):
    """Pre-norm: one row `[T, D]` through attention, cross-attention and feed-forward layer."""
    heads = {name: options.get(name) for name in ("heads", "kv_heads", "scale")}
    y = rms_norm(weights["attention_norm/scale"], x)
    own = below(weights, "attention")
    x = x + attention(own, y, y, **heads, bias=bias, seen=seen, base=options.get("base"))
    cross = below(weights, "cross_attention")
    if cross:
        y = rms_norm(weights["cross_attention_norm/scale"], x)
        x = x + attention(cross, y, memory, **heads, seen=seen_memory)
    y = rms_norm(weights["feed_forward_norm/scale"], x)
    if ffn := below(weights, "feed_forward"):
        return x + feed_forward(ffn, y)
    moe = next(path.split("/")[0] for path in weights if "_moe_" in path)
    return x + switch(below(weights, moe), y)


def stack(weights, x, options, mask=None, memory=None, memory_mask=None):
    """`[B, T, D]` through all blocks and the final norm.

    Args:
        weights: by path.
        x: `[B, T, D]`.
        options: `dict` of `layers`, `heads`, `kv_heads`, `scale`, `causal`, `base` of rotary
            positions and `max_distance` of relative ones.
        mask: `[B, T]`.
        memory: `[B, L, D]`.
        memory_mask: `[B, L]`.
    """
    causal, length = options.get("causal", False), x.shape[1]
    bias = None
    if "position/table" in weights:
        places = range(length)
        far = options["max_distance"]
        bias = position_bias(weights["position/table"], places, places, far, causal)
    output = np.zeros(x.shape)
    for b, row in enumerate(np.asarray(x, np.float64)):

        def seen(q, k, b=b):
            return k <= q if causal else mask is None or mask[b, k]

        def seen_memory(q, k, b=b):
            return memory_mask is None or memory_mask[b, k]

        for i in range(options["layers"]):
            own = None if memory is None else memory[b]
            part = below(weights, f"block_{i}")
            row = block(part, row, own, options, seen, seen_memory, bias)
        output[b] = rms_norm(weights["norm/scale"], row)
    return output


# === Gradients ===


def slope(function, values, direction, step=1e-5):
    """Derivative of a function of arrays along a direction, by central differences."""
    ahead = [value + step * d for value, d in zip(values, direction, strict=True)]
    behind = [value - step * d for value, d in zip(values, direction, strict=True)]
    return (function(ahead) - function(behind)) / (2 * step)
