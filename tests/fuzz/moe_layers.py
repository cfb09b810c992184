"""Random mixtures of experts against the slow references: outputs, gradients, losses, statistics.

A case is a router, experts, a shape, a mask, a precision and a way of running, most of them valid,
some with one hostile argument. A case whose choices hang on less than float32 can tell apart is
drawn again.
"""

import keras
import numpy as np

from fuzz import hostile, layer_step
from fuzz.comparison import compare
from fuzz.moe_oracle import expect
from fuzz.verdict import REFUSED, UNCLEAR, Verdict, of_error
from moe_zoo.experts import FeedForwardExperts, GatedExperts, MLPExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter

ROUTERS = {
    "switch": SwitchRouter,
    "noisy": NoisyTopKRouter,
    "gshard": GShardRouter,
    "softmax": SoftmaxRouter,
}
EXPERTS = {"feed_forward": FeedForwardExperts, "gated": GatedExperts, "mlp": MLPExperts}
OUTER = ("num_experts", "group_size", "hidden_dim")  # arguments that are not the router's
KINDS = {
    "z_loss_weight": hostile.real,
    "balance_loss_weight": hostile.real,
    "importance_loss_weight": hostile.real,
    "load_loss_weight": hostile.real,
    "route_padding": hostile.truth,
    "batch_priority": hostile.truth,
    "top_k": hostile.size,
    "capacity_factor": hostile.optional(hostile.positive),
    "eval_capacity_factor": hostile.optional(hostile.positive),
    "min_capacity": hostile.size,
    "expert_capacity": hostile.optional(hostile.size),
    "second_expert_policy": hostile.choice,
    "second_expert_threshold": hostile.real,
    "num_experts": hostile.size,
    "group_size": hostile.optional(hostile.size),
    "hidden_dim": hostile.size,
}
SIZES = (0, 1, 1, 2, 3, 5, 7, 11)
FACTORS = (None, 0.3, 0.7, 1.0, 1.25, 2.0, 9.0)
GROUPS = np.array([None, 1, 3, 4, 8, 100, "row"], object)
NO_XLA = "no_dropless_layer_under_XLA_use_jit_compile_False_or_a_capacity_factor"
POLICIES = ("random", "all", "none", "threshold", "sampling")


def draw(rng) -> dict:
    """A case: plain values, so that it can be printed and made again."""
    kind = str(rng.choice(list(ROUTERS)))
    num_experts = int(rng.integers(1, 8))
    arguments = _router_arguments(rng, kind, num_experts)
    group = rng.choice(GROUPS, p=[0.4, *[0.1] * 6])
    arguments |= {
        "num_experts": num_experts,
        "group_size": None if group == "row" else group,
        "hidden_dim": 3,
    }
    return {
        "router": kind,
        "arguments": arguments,
        "experts": str(rng.choice(list(EXPERTS))),
        "shape": [int(rng.choice(SIZES)) for _ in range(rng.integers(1, 4))],
        "width": int(rng.choice([1, 2, 3, 5])),
        "by_row": group == "row",
        "mask": str(rng.choice(["none", "random", "left", "nothing"], p=[0.4, 0.4, 0.1, 0.1])),
        **layer_step.draw_step(rng),
        "hostile": hostile.draw_hostile(rng, list(arguments)),
    }


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


def check(case, layer_class=MoE) -> Verdict:
    """Run a case and compare it with the references."""
    keras.utils.set_random_seed(case["seed"])
    try:
        layer, inputs, mask = make(case, layer_class)
    except Exception as error:
        return of_error(error)
    if case["hostile"]:
        plain = as_meant(case)
        if plain is None:
            return Verdict(UNCLEAR, f"accepted the hostile argument of {case}")
        case = plain
    expected = expect(case, layer, inputs, mask)
    if expected is None:
        return Verdict("tie")
    try:
        got = layer_step.run(case, layer, inputs, lambda layer: counts(case, layer), mask)
    except Exception as error:
        if case["way"] == "xla" and is_dropless(case) and NO_XLA in str(error):
            return Verdict(REFUSED, NO_XLA)
        return of_error(error)
    return compare(case, expected, got)


def is_dropless(case):
    """Whether experts get rows of their own number, which XLA cannot compute."""
    factor = "capacity_factor" if case["training"] else "eval_capacity_factor"
    limits = case["arguments"].get("expert_capacity"), case["arguments"].get(factor)
    return case["router"] != "softmax" and limits == (None, None)


def as_meant(case):
    """As `hostile.as_meant`; a layer takes one kind of group only."""
    plain = hostile.as_meant(case, KINDS)
    both = case["by_row"] and plain is not None and plain["arguments"]["group_size"] is not None
    return None if both else plain


def counts(case, layer):
    """What the layer counted in its one step."""
    stats = layer.statistics.summarize(layer.statistics.sums(1 if case["training"] else 2))
    return {"load": stats.load, "demand": stats.demand}


def make(case, layer_class):
    """The layer with random weights, its inputs in the layer's precision, and the mask."""
    values = hostile.given(case)
    outer = {name: values.pop(name) for name in OUTER}
    if case["router"] in ("switch", "gshard"):
        values["jitter"] = 0.0  # of which the reference knows nothing
    policy, count, hidden = case["policy"], outer["num_experts"], outer["hidden_dim"]
    router = ROUTERS[case["router"]](**values, seed=case["seed"] % 1000)
    smooth = {"activation": "tanh", "dtype": policy}  # half precision would fall off ReLU's kink
    if case["experts"] == "mlp":
        experts = MLPExperts(count, (hidden, 2), **smooth)
    else:
        experts = EXPERTS[case["experts"]](count, hidden, output_dim=2, **smooth)
    size = outer["group_size"]
    layer = layer_class(router, experts, size, case["by_row"], dtype=policy, name="moe")
    shape = [*case["shape"], case["width"]]
    layer.build((None, *shape[1:]))
    rng = layer_step.set_weights(case, layer)
    inputs = np.asarray(rng.normal(size=shape), layer.compute_dtype)
    return layer, inputs, _mask(case["mask"], case["shape"], rng)


def _mask(kind, shape, rng):
    if kind == "none":
        return None
    if kind == "nothing":
        return np.zeros(shape, bool)
    mask = rng.random(shape) > 0.3
    return np.sort(mask, -1) if kind == "left" else mask
