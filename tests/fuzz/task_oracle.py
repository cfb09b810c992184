"""What the papers say about layers for several tasks: outputs, gradients, loss, statistics."""

from functools import partial

import numpy as np

from fuzz.layer_step import Results, upstream, weights_of
from fuzz.task_gates import SlowGate, Tie, draws_of
from reference import moe as reference
from reference import tasks as reference_tasks

STEP = 1e-6
LARGEST = 1e6  # total whose central difference float64 has digits for


def expect(case, layer, inputs):
    """What a step should give, gradients along `directions`.

    `None` if choices are a tie, or a huge weight leaves a difference no digits.
    """
    sources = {"rows": inputs.astype(np.float64), **weights_of(layer)}
    draws = {path: draws_of(case, gate) for path, gate in _gates(layer).items()}
    slopes = []
    try:
        outputs, gates = _all_rows(case, draws, sources)
        for name, direction in zip(sources, directions(case, inputs, layer), strict=True):
            ends = [
                _total(case, draws, {**sources, name: sources[name] + step * direction})
                for step in (STEP, -STEP)
            ]
            slopes.append((ends[0] - ends[1]) / (2.0 * STEP))
    except Tie:
        return None
    if max(map(abs, ends)) > LARGEST:
        return None
    loss = sum(gate.loss() for gate in gates.values())
    return Results(outputs, [np.array(slopes)], loss, _counts(case, gates))


def directions(case, inputs, layer):
    """A random direction for the inputs and for each trainable weight in turn."""
    rng = np.random.default_rng(case["seed"] + 2)
    return [rng.normal(size=x.shape) for x in (inputs, *layer.trainable_weights)]


def _gates(layer):
    """The gates of a layer by the paths of their weights; the last one counts."""
    if hasattr(layer, "levels"):
        gates = [(level, gate) for level in layer.levels for gate in reversed(level.gates())]
        return {f"{level.name}/{gate.name}/": gate for level, gate in gates}
    return {"gate/": layer.gate} if hasattr(layer, "gate") else {}


def _counts(case, gates):
    if not gates:
        return {}
    counts = list(gates.values())[-1].counts()
    if case["arguments"].get("shared_gate"):
        return {name.replace("task_0", "all"): value for name, value in counts.items()}
    return counts


def _total(case, draws, sources):
    """What is differentiated: the outputs, weighed at random, and the losses."""
    outputs, gates = _all_rows(case, draws, sources)
    weighed = np.sum(outputs * upstream(case, outputs.shape))
    return weighed + sum(gate.loss() for gate in gates.values())


def _all_rows(case, draws, sources):
    gates = {path: SlowGate(case, _below(sources, path), draws[path]) for path in draws}
    slow = LAYERS[case["layer"]]
    outputs = [slow(case, x, sources, gates, row) for row, x in enumerate(sources["rows"])]
    units = outputs[0].shape[-1] if outputs else _units(case)
    return np.reshape(outputs, (len(outputs), case["arguments"]["num_tasks"], units)), gates


def _units(case):
    """U, which a hostile argument may have changed."""
    arguments = case["arguments"]
    return (arguments.get("hidden_dims") or arguments.get("experts.hidden_dims") or (2,))[-1]


# === The layers ===


def _mmoe(case, x, w, gates, row):
    experts = _experts(case, _below(w, "experts/"), "experts")
    tasks = [gates["gate/"].of(row, task) for task in range(gates["gate/"].draws.num_tasks)]
    outputs = reference_tasks.mmoe(x, experts, tasks)
    return np.repeat(outputs, case["arguments"]["num_tasks"] // len(tasks), 0)


def _ple(case, x, w, gates, row):
    levels = []
    for number in range(case["arguments"].get("levels", 1)):
        path = f"level_{number}/"
        tasks = range(case["arguments"]["num_tasks"])
        own = [_experts(case, _below(w, f"{path}task_{t}_experts/"), "experts") for t in tasks]
        shared = _experts(case, _below(w, f"{path}shared_experts/"), "shared")
        shared_gate = gates.get(f"{path}shared_gate/")
        task_gates = [gates[f"{path}gate/"].of(row, t) for t in tasks]
        levels.append((own, shared, task_gates, shared_gate and shared_gate.of(row)))
    return reference_tasks.ple(x, levels)


def _networks(case, x, w, gates, row):
    count = 1 if case["layer"] == "SharedBottom" else case["arguments"]["num_tasks"]
    numbers = range(len(case["arguments"]["hidden_dims"]))
    if case["layer"] == "CrossStitch":
        layers = [_mlps(w, count, [number]) for number in numbers]
        return reference_tasks.cross_stitch(x, layers, [w[f"stitch_{n}"] for n in numbers])
    outputs = np.stack([network(x) for network in _mlps(w, count, numbers)])
    return np.repeat(outputs, case["arguments"]["num_tasks"] // count, 0)


LAYERS = {
    "MMoE": _mmoe,
    **dict.fromkeys(("CGC", "PLE"), _ple),
    **dict.fromkeys(("SharedBottom", "SingleTask", "CrossStitch"), _networks),
}


# === Their experts ===


def _experts(case, w, part):
    """The experts of a part of a layer, functions of a row."""
    count, kind = case["arguments"][f"{part}.num_experts"], case["experts"]
    if kind == "MLPExperts":
        return _mlps(w, count, range(len(case["arguments"][f"{part}.hidden_dims"])))
    if kind == "HeterogeneousExperts":
        mlps = _mlps(_below(w, "second/"), 2, [0])
        return _feed_forward(_below(w, "first/"), count, reference.feed_forward) + mlps
    if kind == "GatedExperts":
        return _feed_forward(w, count, reference.gated_feed_forward, ("gate",))
    return _feed_forward(w, count, reference.feed_forward)


def _mlps(w, count, numbers):
    def layers(expert):
        return [(w[f"kernel_{n}"][expert], _bias(w, f"{n}", expert)) for n in numbers]

    return [
        partial(reference_tasks.mlp, layers=layers(e), activation=np.tanh) for e in range(count)
    ]


def _feed_forward(w, count, formula, more=()):
    def expert(e):
        names = (*more, "in", "out")
        weights = [x for name in names for x in (w[f"kernel_{name}"][e], _bias(w, name, e))]
        return lambda x: formula(x, *weights, np.tanh)

    return [expert(e) for e in range(count)]


def _bias(w, name, expert):
    return w[f"bias_{name}"][expert] if f"bias_{name}" in w else 0.0


def _below(w, path):
    """The weights below a path."""
    return {name.removeprefix(path): x for name, x in w.items() if name.startswith(path)}
