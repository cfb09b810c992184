"""Random mixtures of experts against the slow references: outputs, gradients, losses, statistics.

A case is a router, experts, a shape, a mask, a precision and a way of running, most of them valid,
some with one hostile argument. A case whose choices hang on less than float32 can tell apart is
drawn again.
"""

import math
import numbers
from fractions import Fraction

import keras
import numpy as np
import tensorflow as tf

import reference
from moe_zoo.experts import FeedForwardExperts, GatedExperts, MLPExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter

from .verdict import RIGHT, UNCLEAR, Verdict, of_error

ROUTERS = {
    "switch": SwitchRouter,
    "noisy": NoisyTopKRouter,
    "gshard": GShardRouter,
    "softmax": SoftmaxRouter,
}
EXPERTS = {"feed_forward": FeedForwardExperts, "gated": GatedExperts, "mlp": MLPExperts}
SIZES = (0, 1, 1, 2, 3, 5, 7, 11)
FACTORS = (None, 0.3, 0.7, 1.0, 1.25, 2.0, 9.0)
POLICIES = ("random", "all", "none", "threshold", "sampling")
HOSTILE = (
    float("nan"),
    math.inf,
    -1,
    0,
    -0.5,
    10**20,
    "2",
    "False",
    None,
    True,
    [3],
    {},
    np.float32(1.25),
    np.int64(2),
    np.bool_(True),
    Fraction(5, 4),
    np.array([1.0, 2.0]),
)
ROUNDING = {"float32": 2e-5, "mixed_float16": 2e-2, "mixed_bfloat16": 1e-1}
WHOLE_OR_NONE = ("expert_capacity", "group_size")
INVALID = object()
CLOSEST = 1e-4  # logits nearer than this are a tie in float32
FACTOR_PLACES = 10_000  # a factor is a fraction with at most this denominator


def draw(rng) -> dict:
    """A case: plain values, so that it can be printed and made again."""
    kind = str(rng.choice(list(ROUTERS)))
    num_experts = int(rng.integers(1, 8))
    case = {
        "router": kind,
        "arguments": _router_arguments(rng, kind, num_experts),
        "experts": str(rng.choice(list(EXPERTS))),
        "num_experts": num_experts,
        "shape": [int(rng.choice(SIZES)) for _ in range(rng.integers(1, 4))],
        "width": int(rng.choice([1, 2, 3, 5])),
        "group": _group(rng),
        "mask": str(rng.choice(["none", "random", "left", "nothing"], p=[0.4, 0.4, 0.1, 0.1])),
        "policy": str(rng.choice(list(ROUNDING), p=[0.7, 0.15, 0.15])),
        "training": bool(rng.random() < 0.6),
        "way": str(rng.choice(["eager", "graph", "xla", "saved"], p=[0.62, 0.3, 0.03, 0.05])),
        "seed": int(rng.integers(2**31)),
        "hostile": None,
    }
    if rng.random() < 0.15:
        names = [*case["arguments"], "num_experts", "group_size", "hidden_dim"]
        case["hostile"] = (str(rng.choice(names)), int(rng.integers(len(HOSTILE))))
    return case


def _router_arguments(rng, kind, num_experts):
    every = {"z_loss_weight": _weight(rng), "route_padding": bool(rng.random() < 0.2)}
    if kind == "softmax":
        return every
    top_k = 1 if kind == "switch" and rng.random() < 0.7 else int(rng.integers(1, num_experts + 1))
    expert_capacity = int(rng.integers(1, 9)) if rng.random() < 0.2 else None
    arguments = every | {
        "top_k": top_k,
        "capacity_factor": FACTORS[rng.integers(len(FACTORS))],
        "eval_capacity_factor": FACTORS[rng.integers(len(FACTORS))],
        "min_capacity": int(rng.integers(1, 5)),
        "expert_capacity": expert_capacity,
        "batch_priority": bool(rng.random() < 0.2),
    }
    if kind == "noisy":
        losses = {f"{name}_loss_weight": _weight(rng) for name in ("importance", "load")}
        return arguments | losses
    arguments["balance_loss_weight"] = _weight(rng)
    if kind == "gshard":
        policy = str(rng.choice(POLICIES if top_k == 2 else ("all", "none")))
        if top_k == 2 and arguments["batch_priority"]:
            policy = "all"
        arguments["second_expert_policy"] = policy
        arguments["second_expert_threshold"] = float(rng.choice([0.0, 0.3, 0.45]))
    return arguments


def _weight(rng):
    return float(rng.choice([0.0, 0.01, 0.5]))


def _group(rng):
    return rng.choice(np.array([None, 1, 3, 4, 8, 100, "row"], object), p=[0.4, *[0.1] * 6])


def check(case, layer_class=MoE) -> Verdict:
    """Run a case and compare it with the references."""
    keras.utils.set_random_seed(case["seed"] % 2**31)
    try:
        layer, inputs, mask = make(case, layer_class)
    except Exception as error:
        return of_error(error)
    if case["hostile"]:
        plain = as_meant(case)
        if plain is None:
            return Verdict(UNCLEAR, f"accepted {case['hostile'][0]}={_hostile(case)!r}")
        case = plain
    expected = expect(case, layer, inputs, mask)
    if expected is None:
        return Verdict("tie")
    try:
        got = run(case, layer, inputs, mask)
    except Exception as error:
        return of_error(error)
    return compare(case, expected, got)


def as_meant(case):
    """The case with its hostile argument as the plain value it stands for; `None` if for none."""
    name, value = case["hostile"][0], _hostile(case)
    optional = name.endswith("capacity_factor") or name in ("expert_capacity", "group_size")
    truth = name in ("route_padding", "batch_priority")
    whole = name in ("top_k", "num_experts", "hidden_dim", "min_capacity", *WHOLE_OR_NONE)
    if value is None:
        plain = None if optional else INVALID
    elif isinstance(value, bool | np.bool_):
        plain = bool(value) if truth else INVALID
    elif truth or name == "second_expert_policy":
        plain = INVALID
    elif isinstance(value, numbers.Integral):
        plain = int(value)
    elif isinstance(value, numbers.Real) and not whole and math.isfinite(value):
        plain = float(value)
    else:
        plain = INVALID
    if plain is INVALID or isinstance(plain, int | float) and plain < 0:
        return None
    case = {**case, "arguments": dict(case["arguments"]), "hostile": None}
    if name in case["arguments"]:
        case["arguments"][name] = plain
    elif name == "num_experts":
        case["num_experts"] = plain
    elif name == "group_size" and case["group"] != "row":
        case["group"] = plain
    elif name == "group_size" and plain is not None:
        return None
    return case


def _hostile(case):
    return HOSTILE[case["hostile"][1]]


# === The layer ===


def make(case, layer_class):
    """The layer with random weights, its inputs in the layer's precision, and the mask."""
    rng = np.random.default_rng(case["seed"])
    arguments = dict(case["arguments"], seed=case["seed"] % 1000)
    if case["router"] in ("switch", "gshard"):
        arguments["jitter"] = 0.0  # of which the reference knows nothing
    outer = {"num_experts": case["num_experts"], "hidden_dim": 3, "group_size": None}
    by_row = case["group"] == "row"
    if not by_row:
        outer["group_size"] = case["group"]
    if case["hostile"]:
        name = case["hostile"][0]
        target = arguments if name in arguments else outer
        target[name] = _hostile(case)
    policy, width = case["policy"], case["width"]
    router = ROUTERS[case["router"]](**arguments)
    count, hidden = outer["num_experts"], outer["hidden_dim"]
    smooth = {"activation": "tanh", "dtype": policy}  # half precision would fall off ReLU's kink
    if case["experts"] == "mlp":
        experts = MLPExperts(count, (hidden, 2), **smooth)
    else:
        experts = EXPERTS[case["experts"]](count, hidden, output_dim=2, **smooth)
    layer = layer_class(router, experts, outer["group_size"], by_row, dtype=policy, name="moe")
    shape = [*case["shape"], width]
    layer.build((None, *shape[1:]))
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / 2)
    inputs = np.asarray(rng.normal(size=shape), layer.compute_dtype)
    return layer, inputs, _mask(case["mask"], case["shape"], rng)


def _mask(kind, shape, rng):
    if kind == "none":
        return None
    if kind == "nothing":
        return np.zeros(shape, bool)
    mask = rng.random(shape) > 0.3
    return np.sort(mask, -1) if kind == "left" else mask


def run(case, layer, inputs, mask):
    """Outputs, the gradients of a random sum of them, the losses' sum, and the statistics."""
    if case["way"] == "saved":
        weights = layer.get_weights()
        layer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        layer.set_weights(weights)
    x = tf.constant(inputs)
    upstream = tf.constant(_upstream(case, inputs.shape), tf.float32)
    masked = None if mask is None else tf.constant(mask)

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, mask=masked, training=case["training"])
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
        gradients = tape.gradient(total, [x, *layer.trainable_weights])
        zero = [tf.zeros_like(v) for v in (x, *map(tf.convert_to_tensor, layer.trainable_weights))]
        gradients = [z if g is None else g for g, z in zip(gradients, zero, strict=True)]
        return outputs, gradients, tf.add_n([tf.constant(0.0), *layer.losses])

    if case["way"] in ("graph", "xla"):
        signature = [tf.TensorSpec([None, *x.shape[1:]], x.dtype)]
        if case["way"] == "xla":
            signature = [tf.TensorSpec(x.shape, x.dtype)]
        step = tf.function(step, input_signature=signature, jit_compile=case["way"] == "xla")
    outputs, gradients, loss = step(x)
    stats = layer.statistics.summarise(layer.statistics.sums(1 if case["training"] else 2))
    return outputs, gradients, float(loss), stats


def _upstream(case, shape):
    return np.random.default_rng(case["seed"] + 1).normal(size=(*shape[:-1], 2))


# === What the papers say ===


def expect(case, layer, inputs, mask):
    """Outputs, gradients, loss, load, demand; `None` of a case whose choices are a tie."""
    arguments, kind = case["arguments"], case["router"]
    tokens, real, rows = in_groups(case, inputs.astype(np.float64), mask)
    weights = {w.path.split("/")[-1]: w.numpy().astype(np.float64) for w in layer.trainable_weights}
    count = case["num_experts"]
    clean = tokens @ weights["kernel"]
    twin = keras.random.SeedGenerator(case["seed"] % 1000)
    noise, uniform, gumbel = None, None, None
    logits = clean
    if kind == "noisy" and case["training"]:
        noise = np.float64(tf.random.stateless_normal(clean.shape, twin.next()))
        logits = clean + noise * np.maximum(softplus(tokens @ weights["noise_kernel"]), 1e-6)
    policy = arguments.get("second_expert_policy")
    if policy in ("random", "sampling"):
        if not case["training"]:
            policy = "all"
        elif policy == "random":
            shape = (len(clean), 2, clean.shape[1])
            uniform = np.float64(tf.random.stateless_uniform(shape, twin.next()))[:, 1]
        else:
            drawn = tf.random.stateless_uniform(clean.shape, twin.next(), 1e-20, 1.0)
            gumbel = -np.log(-np.log(np.float64(drawn)))
    if _is_tie(case, logits, real, uniform, gumbel, policy):
        return None
    kept = np.zeros((*real.shape, count))
    demand = np.zeros(count)
    for g in range(len(tokens)):
        limit = _limit(case, int(real[g].sum()), real.shape[1])
        draws = [None if x is None else x[g] for x in (uniform, gumbel)]
        asked = _plan(case, logits[g], 10**6, real[g], policy, draws)
        plan = _plan(case, logits[g], limit, real[g], policy, draws)
        for choice, token in np.argwhere(plan.kept):
            kept[g, token, plan.experts[choice, token]] = 1.0
        demand += np.bincount(asked.experts[asked.kept], minlength=count)[:count]
    chosen = _weighed(case, logits, gumbel)
    outputs, gradients = _differentiate(case, weights, tokens, kept, chosen, noise, rows, inputs)
    loss = _loss(case, clean, logits, tokens, weights, real) if case["training"] else 0.0
    return outputs, gradients, loss, kept.sum((0, 1)), demand


def in_groups(case, inputs, mask):
    """Tokens [G, S, D], which of them a router sees, and how many are the layer's inputs."""
    width = inputs.shape[-1]
    total = math.prod(inputs.shape[:-1])
    real = np.ones(inputs.shape[:-1], bool) if mask is None else mask
    if case["arguments"].get("route_padding"):
        real = np.ones_like(real)
    if case["group"] == "row":
        rows, size = inputs.shape[0], math.prod(inputs.shape[1:-1])
        return inputs.reshape(rows, size, width), real.reshape(rows, size), total
    size = total if case["group"] is None else max(min(case["group"], total), 1)
    missing = 0 if case["group"] is None else -total % size
    tokens = np.concatenate([inputs.reshape(-1, width), np.zeros((missing, width))])
    real = np.concatenate([real.reshape(-1), np.zeros(missing, bool)])
    groups = 1 if case["group"] is None else len(tokens) // size
    return tokens.reshape(groups, size, width), real.reshape(groups, size), total


def _limit(case, real, size):
    arguments = case["arguments"]
    if case["router"] == "softmax":
        return None
    if arguments["expert_capacity"] is not None:
        return min(arguments["expert_capacity"], size)
    name = "capacity_factor" if case["training"] else "eval_capacity_factor"
    factor = arguments[name]
    if factor is None:
        return real
    share = Fraction(factor).limit_denominator(FACTOR_PLACES)
    share *= Fraction(arguments["top_k"] * real, case["num_experts"])
    return max(arguments["min_capacity"], math.ceil(share))


def _plan(case, logits, limit, real, policy, draws):
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
            whole = reference.noisy_top_k_plan(logits, 10**6, real, top_k)
            first = np.where(np.arange(top_k)[:, None] == 0, whole.experts, count)
            return reference.fill(first, whole.gates, count, limit, priority)
        return reference.noisy_top_k_plan(logits, limit, real, top_k, priority)
    probabilities = np.array([reference.softmax(row) for row in logits]).reshape(-1, count)
    threshold = case["arguments"]["second_expert_threshold"]
    return reference.algorithm_1(probabilities, limit, policy, *draws, threshold, real)


def _is_tie(case, logits, real, uniform, gumbel, policy):
    """Whether two experts, or two tokens in their queue, or a draw, are too near to call."""
    if case["router"] == "softmax":
        return False
    scores = [logits] if gumbel is None else [logits, logits + gumbel]
    for values in scores:
        ordered = np.sort(values, -1)
        if ordered.shape[-1] > 1 and (np.diff(ordered, axis=-1) < CLOSEST)[real].any():
            return True
    if logits.shape[-1] < 2:
        return False
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights = np.sort(weights / weights.sum(-1, keepdims=True), -1)
    if case["router"] == "gshard" and policy in ("random", "threshold"):
        share = weights[..., -2] / (weights[..., -1] + weights[..., -2])
        border = uniform / 2 if policy == "random" else case["arguments"]["second_expert_threshold"]
        if (abs(share - border) < CLOSEST)[real].any():
            return True
    if case["arguments"]["batch_priority"]:
        top_k = case["arguments"]["top_k"]
        total = 1.0 if case["router"] == "switch" else weights[..., -top_k:].sum(-1)
        first = np.where(real, weights[..., -1] / total, np.nan)
        gaps = np.diff(np.sort(first, -1), axis=-1)
        if (gaps < CLOSEST).any() and (case["router"] == "switch" or top_k > 1):
            return True
    return False


def _weighed(case, logits, gumbel):
    """`<bool>[G, S, E]`, the experts over which a token's gates are normalised."""
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


def _differentiate(case, weights, tokens, kept, chosen, noise, total, inputs):
    """All experts of all tokens in float64, weighed by the plan: outputs and gradients."""
    variables = {name: tf.constant(value) for name, value in weights.items()}
    x = tf.constant(inputs, tf.float64)
    missing = tokens.shape[0] * tokens.shape[1] - total
    with tf.GradientTape() as tape:
        tape.watch([x, *variables.values()])
        flat = tf.reshape(x, [total, inputs.shape[-1]])
        rows = tf.reshape(tf.pad(flat, [[0, missing], [0, 0]]), tokens.shape)
        logits = rows @ variables["kernel"]
        if noise is not None:
            deviation = tf.math.softplus(rows @ variables["noise_kernel"])
            logits += noise * tf.maximum(deviation, 1e-6)
        gates = tf.nn.softmax(tf.where(chosen, logits, -np.inf))
        every = _experts(case, rows, variables)  # [G, S, E, F]
        summed = tf.einsum("gse,gsef->gsf", gates * kept, every)
        outputs = tf.reshape(summed, [-1, 2])[:total]
        outputs = tf.reshape(outputs, [*inputs.shape[:-1], 2])
        value = tf.reduce_sum(outputs * _upstream(case, inputs.shape))
    gradients = tape.gradient(value, [x, *variables.values()])
    zero = [tf.zeros_like(v) for v in (x, *variables.values())]
    return outputs, [z if g is None else g for g, z in zip(gradients, zero, strict=True)]


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


def _loss(case, clean, noisy, tokens, weights, real):
    """The weighted auxiliary losses, from the references."""

    def weight(name):
        return case["arguments"].get(name, 0.0)

    count = clean.shape[-1]
    total = weight("z_loss_weight") * reference.z_loss(clean.reshape(-1, count), real.reshape(-1))
    used = [g for g in range(len(real)) if real[g].any()]
    if weight("balance_loss_weight") and used:
        losses = [
            reference.balance_loss(np.array([reference.softmax(row) for row in clean[g]]), real[g])
            for g in used
        ]
        total += weight("balance_loss_weight") * sum(losses) / len(used)
    importance, load = np.zeros(count), np.zeros(count)
    if case["router"] == "noisy":
        top_k = case["arguments"]["top_k"]
        deviation = np.maximum(softplus(tokens @ weights["noise_kernel"]), 1e-6)
        for g, s in np.argwhere(real):
            importance += reference.noisy_top_k_gates(noisy[g, s], top_k)
            load += reference.load_probability(clean[g, s], noisy[g, s], deviation[g, s], top_k)
        total += weight("importance_loss_weight") * reference.cv_squared(importance)
        total += weight("load_loss_weight") * reference.cv_squared(load)
    return total


def softplus(x):
    return np.logaddexp(0.0, x)


# === The comparison ===


def compare(case, expected, got) -> Verdict:
    """Right if everything agrees within the rounding of the precision."""
    outputs, gradients, loss, load, demand = expected
    tolerance = ROUNDING[case["policy"]]
    names = ["outputs", *(f"gradient {i}" for i in range(len(gradients)))]
    for name, slow, fast in zip(names, [outputs, *gradients], [got[0], *got[1]], strict=True):
        slow, fast = np.asarray(slow), np.asarray(tf.cast(fast, tf.float64))
        if slow.shape != fast.shape:
            return Verdict(UNCLEAR, f"{name}: shape {fast.shape} in place of {slow.shape}")
        allowed = tolerance * max(1.0, np.abs(slow).max(initial=0.0))
        off = np.abs(slow - fast).max(initial=0.0)
        if not off <= allowed:
            return Verdict(UNCLEAR, f"{name}: off by {off:.3g}, allowed {allowed:.3g}")
    if not abs(loss - got[2]) <= 1e-4 * max(1.0, abs(loss)):
        return Verdict(UNCLEAR, f"loss {got[2]:.6g} in place of {loss:.6g}")
    stats = got[3]
    if case["way"] != "saved":  # there another layer counted
        for name, slow in (("load", load), ("demand", demand)):
            if not np.array_equal(getattr(stats, name), slow):
                return Verdict(UNCLEAR, f"{name} {getattr(stats, name)} in place of {slow}")
    return Verdict(RIGHT)
