"""The MoE layer against its limits: time, memory and growth, as ratios within one run.

    dense limit: `relu(x W) V` with the same active products, no router.
    balanced limit: the experts alone, each with exactly its share of the tokens, no router. With many experts it rises
        above the dense limit, since every expert's weights and their gradients cross memory.
    train: forward and the gradients of inputs, router and experts, without the optimizer.

All candidates run in one process, in random order in every round; a figure is the median over rounds of the ratio
within a round. Peak memory is taken in a new process for each candidate.
"""

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

import candidates as c
from measure import interleaved, ratio, resident_bytes

TRAIN_TARGETS = {"capacity 1.0": 1.20, "capacity 1.25": 1.45, "dropless": 1.30}
FORWARD_TARGETS = {"capacity 1.0": 1.15, "capacity 1.25": 1.40, "dropless": 1.15}
BALANCED_TARGET = 1.25  # capacity 1.0 over the balanced limit and the router's matmul, from 128 experts
MEMORY_TARGET = 1.6
NODES_TARGET, TRACE_TARGET = 1.0, 1.25  # from 8 to 1024 experts: "flat"


def main():
    args = parse_arguments()
    if args.memory_of:
        print(peak_memory(args))
        return
    keras.utils.set_random_seed(args.seed)
    print(describe(args))
    rows = []
    for num_experts in args.experts:
        rows += time_table(args, num_experts, args.top_k)
    rows += time_table(args, args.experts[0], 1)
    rows += growth_table(args)
    rows += memory_table(args)
    print_summary(rows)
    if args.csv:
        write_csv(args.csv, rows)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32, 128, 512], metavar="E")
    parser.add_argument("--tokens", type=int, default=4096, help="T (twice as many for memory)")
    parser.add_argument("--width", type=int, default=256, help="D")
    parser.add_argument("--hidden", type=int, default=1024, help="F, hidden units of one expert")
    parser.add_argument("--top-k", type=int, default=2, help="K, experts of a token")
    parser.add_argument("--bias", action="store_true", help="biases in experts and limits")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--csv", metavar="PATH", help="write all figures there")
    parser.add_argument(
        "--short", action="store_true", help="toy sizes, within a minute: proves only that it runs"
    )
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.short:
        args.experts, args.tokens, args.width, args.hidden, args.rounds = [8, 32], 512, 32, 64, 3
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


def describe(args):
    short = " SHORT RUN: toy sizes, the figures mean nothing." if args.short else ""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}; T={args.tokens}, D={args.width}, "
        f"F={args.hidden}, {'biases' if args.bias else 'no biases'}, {args.rounds} rounds, seed {args.seed}.{short}"
    )


def sizes_of(args, num_experts, top_k):
    return c.Sizes(args.tokens, args.width, args.hidden, num_experts, top_k, args.bias)


def time_table(args, num_experts, top_k):
    """Train and forward time of each candidate."""
    names = [c.DENSE, c.BALANCED, c.BALANCED_ROUTER, *c.LAYERS, c.ONE_HOT]
    made = c.make(names, sizes_of(args, num_experts, top_k))
    steps = {(name, "train"): c.train_step(made[name])[0] for name in names}
    steps |= {(name, "forward"): c.forward_step(made[name]) for name in names}
    labels = {f"{name}|{mode}": step for (name, mode), step in steps.items()}
    times = interleaved(labels, args.rounds, np.random.default_rng(args.seed))
    title = f"E={num_experts}, top-{top_k}{' (Switch)' if top_k == 1 else ''}"
    rows = []
    for mode, targets in (("train", TRAIN_TARGETS), ("forward", FORWARD_TARGETS)):
        limit = f"{c.BALANCED_ROUTER}|{mode}"
        for name in names:
            label = f"{name}|{mode}"
            over_dense = ratio(times, label, f"{c.DENSE}|{mode}")
            target = targets.get(name) if num_experts <= 32 else None
            rows.append(row(title, mode, name, "over dense limit", over_dense, target))
            if name in c.LAYERS:
                target = BALANCED_TARGET if num_experts >= 128 and name == "capacity 1.0" else None
                over = ratio(times, label, limit)
                rows.append(row(title, mode, name, f"over {c.BALANCED_ROUTER}", over, target))
    seconds = np.median(times[f"{c.DENSE}|train"])
    print_time_table(f"{title} (dense limit, train: {1000 * seconds:.0f} ms)", names, rows)
    return rows


def growth_table(args):
    """Graph nodes and tracing time of a training step, by number of experts."""
    found = {}
    for name in c.LAYERS:
        for num_experts in (8, 1024):
            sizes = c.Sizes(64, 16, 8, num_experts, args.top_k, args.bias)
            candidate = c.make([name], sizes)[name]
            c.train_step(candidate)  # whatever happens only once
            spans = []
            for _ in range(3):
                start = time.perf_counter()
                _, function = c.train_step(candidate)
                spans.append(time.perf_counter() - start)
            graph = function.graph.as_graph_def()
            nodes = len(graph.node) + sum(len(f.node_def) for f in graph.library.function)
            found[name, num_experts] = nodes, float(np.median(spans))
    print("\nGrowth: graph nodes and tracing time of a training step")
    print(f"{'':32}{'nodes E=8':>12}{'E=1024':>10}{'trace E=8':>12}{'E=1024':>10}")
    rows = []
    for name in c.LAYERS:
        (few, short), (many, long) = found[name, 8], found[name, 1024]
        print(f"{name:32}{few:>12}{many:>10}{short:>11.2f}s{long:>9.2f}s")
        rows.append(row("growth", "train", name, "nodes E=1024 / E=8", many / few, NODES_TARGET))
        rows.append(row("growth", "train", name, "trace E=1024 / E=8", long / short, TRACE_TARGET))
    return rows


def memory_table(args):
    """Peak memory of a training step above inputs and weights, each candidate in a process of its own."""
    if not os.path.exists("/proc/self/status"):
        print("\nMemory: needs /proc (Linux), left out.")
        return []
    options = ["--seed", args.seed, "--tokens", 2 * args.tokens, "--top-k", args.top_k]
    options += ["--width", args.width, "--hidden", args.hidden, *(["--bias"] if args.bias else [])]
    print(f"\nPeak memory of a training step above inputs and weights, T={2 * args.tokens}, E=32")
    peaks = {}
    for name in [c.DENSE, *c.LAYERS, c.ONE_HOT]:
        command = [sys.executable, __file__, "--memory-of", name, *map(str, options)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[name] = json.loads(output.splitlines()[-1])
    rows = []
    for name, peak in peaks.items():
        over = peak / peaks[c.DENSE]
        target = MEMORY_TARGET if name in c.LAYERS else None
        rows.append(row("memory", "train", name, "over dense limit", over, target))
        print(f"{name:32}{peak / 2**20:>9.0f} MiB{over:>8.2f}{verdict(rows[-1])}")
    return rows


def peak_memory(args):
    """Bytes that a training step of one candidate needs above inputs and weights."""
    sizes = sizes_of(args, 32, args.top_k)
    step, _ = c.train_step(c.make([args.memory_of], sizes)[args.memory_of])
    before = resident_bytes("VmRSS")
    step()
    return resident_bytes("VmHWM") - before


def row(table, mode, name, what, value, target):
    met = "" if target is None else "met" if value <= target else "missed"
    return dict(table=table, mode=mode, name=name, what=what, value=value, target=target, met=met)


def verdict(entry):
    return "" if entry["target"] is None else f"  (target {entry['target']:.2f}: {entry['met']})"


def print_time_table(title, names, rows):
    print(f"\n{title}")
    print(f"{'':32}{'train / dense':>28}{'train / balanced':>28}{'forward / dense':>28}")
    for name in names:
        cells = {(r["mode"], r["what"]): r for r in rows if r["name"] == name}
        line = f"{name:32}"
        for mode, limit in (
            ("train", c.DENSE),
            ("train", c.BALANCED_ROUTER),
            ("forward", c.DENSE),
        ):
            entry = cells.get((mode, f"over {limit}"))
            text = f"{entry['value']:.2f}{verdict(entry)}" if entry else ""
            line += f"{text:>28}"
        print(line)


def print_summary(rows):
    judged = [r for r in rows if r["target"] is not None]
    missed = [r for r in judged if r["met"] == "missed"]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} targets met.")
    for r in missed:
        print(
            f"  missed: {r['table']}, {r['mode']}, {r['name']}, {r['what']}: {r['value']:.2f} (target {r['target']})"
        )


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
