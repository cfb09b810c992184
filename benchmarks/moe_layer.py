"""The MoE layer against its limits: time, memory and growth, as ratios within one run.

    dense limit     relu(x W) V with the same active products, no router
    balanced limit  the experts alone, each with its fair share of the tokens, no router; with many
                    experts it rises above the dense limit, since every expert's weights and their
                    gradients must cross memory
    train           forward and the gradients of inputs, router and experts, without the optimizer

All candidates run in one process, in random order in every round; a figure is the median over
rounds of the ratio within a round. Memory is what TensorFlow's allocator counts.
"""

import argparse
import csv
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import candidates as c
import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, peak_bytes, ratio

from moe_zoo.files import new_file

TRAIN_TARGETS = {"capacity 1.0": 1.20, "capacity 1.25": 1.45, "dropless": 1.30}
FORWARD_TARGETS = {"capacity 1.0": 1.15, "capacity 1.25": 1.40, "dropless": 1.15}
BALANCED_TARGETS = {"capacity 1.0": 1.25}  # over the balanced limit and the router's matmul
FEW, MANY = 32, 128  # experts up to which, and from which, these targets hold
MEMORY_TARGET = 1.6
NODES_TARGET, TRACE_TARGET = 1.05, 1.25  # from 8 to 1024 experts: flat


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    tf.get_logger().setLevel("ERROR")  # the functions are many: it warns of retracing
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
    parser.add_argument("--threads", type=int, help="threads of TensorFlow; else one per core")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--csv", metavar="PATH", help="write all figures there")
    parser.add_argument(
        "--short", action="store_true", help="toy sizes, within a minute: proves that it runs"
    )
    args = parser.parse_args()
    if args.short:
        args.experts, args.tokens, args.width, args.hidden, args.rounds = [8], 512, 32, 64, 3
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    return args


def describe(args):
    machine = f"{os.cpu_count()} cores, {args.threads or 'default'} threads, {platform.machine()}"
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    work = f"T={args.tokens}, D={args.width}, F={args.hidden}"
    work += f", {'biases' if args.bias else 'no biases'}, {args.rounds} rounds, seed {args.seed}"
    note = "\nA short run with toy sizes: its figures mean nothing." if args.short else ""
    return f"{machine}, {versions}\n{work}{note}"


def sizes_of(args, num_experts, top_k):
    return c.Sizes(args.tokens, args.width, args.hidden, num_experts, top_k, args.bias)


# === Time ===


def time_table(args, num_experts, top_k):
    """Training and forward time of each candidate."""
    names = [c.DENSE, c.BALANCED, c.BALANCED_ROUTER, *c.LAYERS, c.ONE_HOT]
    made = c.make(names, sizes_of(args, num_experts, top_k))
    steps = {(name, "train"): c.train_step(made[name])[0] for name in names}
    steps |= {(name, "forward"): c.forward_step(made[name]) for name in names}
    times = interleaved(steps, args.rounds, np.random.default_rng(args.seed))

    table = f"E={num_experts}, top-{top_k}{' (Switch)' if top_k == 1 else ''}"
    print(f"\n{table}; dense limit, train: {1000 * np.median(times[c.DENSE, 'train']):.0f} ms")
    print(f"{'':32}{'train / dense':<22}{'train / balanced+r.':<22}forward / dense")
    few = num_experts <= FEW and not args.short  # toy sizes are all overhead
    columns = [
        ("train", c.DENSE, TRAIN_TARGETS if few else {}),
        ("train", c.BALANCED_ROUTER, BALANCED_TARGETS if num_experts >= MANY else {}),
        ("forward", c.DENSE, FORWARD_TARGETS if few else {}),
    ]
    rows = []
    for name in names:
        line = f"{name:32}"
        for mode, base, targets in columns:
            value = ratio(times, (name, mode), (base, mode))
            rows.append(row(table, mode, name, f"time over {base}", value, targets.get(name)))
            line += f"{shown(rows[-1]):<22}"
        print(line.rstrip())
    return rows


# === Growth ===


def growth_table(args):
    """Graph nodes and tracing time of a training step, with few and with many experts."""
    sizes = {e: c.Sizes(64, 16, 8, e, args.top_k, args.bias) for e in (8, 1024)}
    made = {(n, e): c.make([n], s)[n] for n in c.LAYERS for e, s in sizes.items()}
    nodes = {}

    def trace(key):
        graph = c.train_step(made[key])[1].graph.as_graph_def()
        nodes[key] = len(graph.node) + sum(len(f.node_def) for f in graph.library.function)

    steps = {key: lambda key=key: trace(key) for key in made}
    times = interleaved(steps, 1 if args.short else 5, np.random.default_rng(args.seed))
    print("\nGraph nodes and tracing time of a training step, E=8 and E=1024")
    rows = []
    for name in c.LAYERS:
        few, many = (name, 8), (name, 1024)
        found = [
            ("nodes", nodes[many] / nodes[few], NODES_TARGET),
            ("trace time", ratio(times, many, few), TRACE_TARGET),
        ]
        rows += [row("growth", "train", name, f"{w}, E=1024 over E=8", v, t) for w, v, t in found]
        counts, seconds = f"{nodes[few]} -> {nodes[many]}", np.median(times[many])
        print(f"{name:32}{counts:<16}{shown(rows[-2]):<22}{seconds:.2f} s  {shown(rows[-1])}")
    return rows


# === Memory ===


def memory_table(args):
    """Peak memory of a training step above inputs and weights."""
    sizes = sizes_of(args, 32, args.top_k)._replace(tokens=2 * args.tokens)
    print(f"\nPeak memory of a training step above inputs and weights, T={sizes.tokens}, E=32")
    rows, peaks = [], {}
    for name in [c.DENSE, c.BALANCED, *c.LAYERS, c.ONE_HOT]:
        step, _ = c.train_step(c.make([name], sizes)[name])
        try:
            peaks[name] = peak_bytes(step, args.rounds)
        except ValueError as error:
            print(f"Left out, since TensorFlow does not count it here: {error}")
            return []
        target = MEMORY_TARGET if name in c.LAYERS and not args.short else None
        over = peaks[name] / peaks[c.DENSE]
        rows.append(row("memory", "train", name, "over dense limit", over, target))
        print(f"{name:32}{peaks[name] / 2**20:6.0f} MiB      {shown(rows[-1])}")
    return rows


# === Figures ===


def row(table, mode, name, figure, value, target):
    met = "" if target is None else "met" if round(value, 2) <= target else "missed"
    return dict(
        table=table, mode=mode, name=name, figure=figure, value=value, target=target, met=met
    )


def shown(entry):
    if entry["target"] is None:
        return f"{entry['value']:.2f}"
    return f"{entry['value']:.2f} ({entry['target']:.2f} {entry['met']})"


def print_summary(rows):
    judged = [entry for entry in rows if entry["target"] is not None]
    missed = [entry for entry in judged if entry["met"] == "missed"]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} targets met.")
    for entry in missed:
        where = f"{entry['table']}, {entry['mode']}, {entry['name']}, {entry['figure']}"
        print(f"  missed: {where}: {shown(entry)}")


def write_csv(path, rows):
    with new_file(path) as place, open(place, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
