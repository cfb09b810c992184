"""Random layers for several tasks against the slow references, as `moe_layers` does for one.

A case is a layer, its experts and gate, sizes, a precision and a way of running, some with one
hostile argument. Every gradient is compared along a random direction, with a central difference of
the reference, losses included.
"""

import keras
import numpy as np

from fuzz import hostile, layer_step
from fuzz.comparison import EXACT, compare
from fuzz.task_oracle import directions, expect
from fuzz.verdict import UNCLEAR, Verdict, of_error
from moe_zoo import experts as all_experts
from moe_zoo import gates as all_gates
from moe_zoo import layers as all_layers

MIXTURES = ("MMoE", "CGC", "PLE")
NETWORKS = ("SharedBottom", "SingleTask", "CrossStitch")
GATES = ("SoftmaxGate", "NoisyTopKGate", "DSelectKGate")
EXPERTS = ("MLPExperts", "FeedForwardExperts", "GatedExperts", "HeterogeneousExperts")
UNITS = 2  # U
KINDS = {
    "num_tasks": hostile.size,
    "num_experts": hostile.size,
    "levels": hostile.size,
    "shared_gate": hostile.truth,
    "hidden_dim": hostile.size,
    "hidden_dims": hostile.sizes,
    "use_bias": hostile.truth,
    "dropout": hostile.rate,
    "stitch_initial": hostile.share,
    "temperature": hostile.positive,
    "top_k": hostile.size,
    "gamma": hostile.positive,
    "per_example": hostile.truth,
    "importance_loss_weight": hostile.real,
    "load_loss_weight": hostile.real,
    "entropy_loss_weight": hostile.real,
    "reach_loss_weight": hostile.real,
}


def draw(rng) -> dict:
    """A case: plain values; `gate.top_k` is an argument of the gate, and so on."""
    kind = str(rng.choice(MIXTURES + NETWORKS, p=[0.35, 0.2, 0.25, 0.05, 0.05, 0.1]))
    case = {"layer": kind, **layer_step.draw_step(rng)}
    arguments = {"num_tasks": int(rng.choice([1, 2, 2, 3]))}
    if kind in MIXTURES:
        case |= {"gate": str(rng.choice(GATES)), "experts": str(rng.choice(EXPERTS))}
        if kind == "MMoE":
            arguments["shared_gate"] = bool(rng.random() < 0.3)
        if kind == "PLE":
            arguments["levels"] = int(rng.choice([1, 2, 2, 3]))
            if case["policy"] != "float32":
                case["gate"] = "SoftmaxGate"  # the others choose by what the first level rounded
        for part in ("experts", "shared") if kind in ("CGC", "PLE") else ("experts",):
            arguments |= _named(part, _expert_arguments(rng, case))
        arguments |= _named("gate", _gate_arguments(rng, case))
    else:
        arguments |= _network_arguments(rng, case)
    if kind == "CrossStitch":
        arguments["stitch_initial"] = float(rng.choice([0.0, 0.5, 0.9, 1.0]))
    return case | {
        "rows": int(rng.choice([0, 1, 1, 2, 3, 5])),
        "width": int(rng.choice([1, 2, 3, 5])),
        "arguments": arguments,
        "hostile": hostile.draw_hostile(rng, list(arguments)),
    }


def _named(part, arguments):
    return {f"{part}.{name}": value for name, value in arguments.items()}


def _network_arguments(rng, case):
    hidden = [3] if rng.random() < 0.3 else []
    return {
        "hidden_dims": (*hidden, UNITS),
        "use_bias": bool(rng.random() < 0.7),
        "dropout": 0.0 if case["training"] else float(rng.choice([0.0, 0.3])),  # its draws: Keras'
    }


def _expert_arguments(rng, case):
    arguments = {"num_experts": int(rng.integers(1, 4)), **_network_arguments(rng, case)}
    if case["experts"] != "MLPExperts":
        del arguments["hidden_dims"]
        arguments["hidden_dim"] = 3
    return arguments


def _gate_arguments(rng, case):
    arguments = {
        "hidden_dims": (3,) if case["policy"] == "float32" and rng.random() < 0.2 else (),
        "temperature": float(rng.choice([0.5, 1.0, 1.0, 2.0])),
        "dropout": float(rng.choice([0.0, 0.0, 0.4])),
        "use_bias": bool(rng.random() < 0.3),
    }
    names = {"NoisyTopKGate": ("importance", "load"), "DSelectKGate": ("entropy", "reach")}
    if case["gate"] in names:
        arguments["top_k"] = int(rng.choice([1, 1, 2, 3]))
        for name in names[case["gate"]]:
            arguments[f"{name}_loss_weight"] = float(rng.choice([0.0, 0.01, 0.5]))
    if case["gate"] == "DSelectKGate":
        arguments["gamma"] = float(rng.choice([0.3, 1.0, 1.0, 2.0]))
        arguments["per_example"] = bool(rng.random() < 0.8)
    return arguments


def check(case, layers=all_layers) -> Verdict:
    """Run a case of one of some layers and compare it with the references."""
    keras.utils.set_random_seed(case["seed"])
    try:
        layer, inputs = make(case, getattr(layers, case["layer"]))
    except Exception as error:
        return of_error(error)
    if case["hostile"]:
        plain = hostile.as_meant(case, KINDS)
        if plain is None:
            return Verdict(UNCLEAR, f"accepted the hostile argument of {case}")
        case = plain
    expected = expect(case, layer, inputs)
    if expected is None:
        return Verdict("tie")
    try:
        got = layer_step.run(case, layer, inputs, lambda x: counts(case, x), loss_weight=1.0)
    except Exception as error:
        return of_error(error)
    sources = directions(case, inputs, layer)
    parts = [np.float64(g) * d for g, d in zip(got.gradients, sources, strict=True)]
    # A sum is rounded as its parts are, however little of them is left.
    size = np.array([max(1.0, np.abs(part).sum()) for part in parts])
    got = got._replace(gradients=[np.array([part.sum() for part in parts]) / size])
    expected = expected._replace(gradients=[expected.gradients[0] / size])
    exact = EXACT if case["policy"] == "float32" else layer_step.ROUNDING[case["policy"]]
    return compare(case, expected, got, exact)


def counts(case, layer):
    """What the gates of each task did in the one step."""
    found = {}
    for metric in layer.statistics:
        stats = metric.summarize(metric.sums(1 if case["training"] else 2))
        task = metric.task or "all"
        found[f"demand of {task}"] = stats.demand
        found[f"importance of {task}"] = stats.importance
        found[f"entropy of {task}"] = stats.entropy
    return found


# === The layer ===


def make(case, layer_class):
    """The layer with random weights, and its inputs in the layer's precision."""
    values, policy = hostile.given(case), case["policy"]
    own = {name: value for name, value in values.items() if "." not in name}
    if case["layer"] in MIXTURES:
        parts = [_experts(case, values, "experts")]
        if "shared.num_experts" in values:
            parts.append(_experts(case, values, "shared"))
        gate_class = getattr(all_gates, case["gate"])
        own["gate"] = gate_class(seed=case["seed"] % 1000, name="gate", **_part(values, "gate"))
        layer = layer_class(*parts, **own, dtype=policy, name="mix")
    else:
        layer = layer_class(**own, activation="tanh", dtype=policy, name="mix")
    layer.build((None, case["width"]))
    rng = layer_step.set_weights(case, layer)
    return layer, np.asarray(rng.normal(size=(case["rows"], case["width"])), layer.compute_dtype)


def _part(values, part):
    prefix = f"{part}."
    return {name.removeprefix(prefix): x for name, x in values.items() if name.startswith(prefix)}


def _experts(case, values, part):
    arguments = _part(values, part)
    smooth = {"activation": "tanh", "dtype": case["policy"]}  # ReLU's kink is no place to compare
    if case["experts"] == "MLPExperts":
        return all_experts.MLPExperts(**arguments, **smooth, name=part)
    if case["experts"] != "HeterogeneousExperts":
        kind = getattr(all_experts, case["experts"])
        return kind(**arguments, output_dim=UNITS, **smooth, name=part)
    arguments["output_dim"] = UNITS
    first = all_experts.FeedForwardExperts(**arguments, **smooth, name="first")
    second = all_experts.MLPExperts(2, (UNITS,), **smooth, name="second")
    return all_experts.HeterogeneousExperts([first, second], dtype=case["policy"], name=part)
