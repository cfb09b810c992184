"""The multi-gate mixture against its experts alone: time of a training step, within one run.

    one GEMM     relu(x W + b) with all experts' kernels side by side, [B, D] x [D, E * U], no gate
    MMoE         the layer, with its gates; statistics too with "and statistics", as in `fit`
    Dense list   a keras.layers.Dense for each expert and each gate, stacked, weighed by multiplying
                 and adding up: the usual form

A step is forward and the gradients of inputs and weights, without the optimizer. All candidates run
in one process, in random order in every round; a figure is the median over rounds of the ratio
within a round.
"""

import argparse
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, ratio

from moe_zoo.experts import MLPExperts
from moe_zoo.layers import MMoE

TARGETS = {64: 1.3, 16: 1.6}  # MMoE over the one GEMM, by units of an expert
GEMM, LAYER, COUNTED, DENSE = "one GEMM", "MMoE", "MMoE and statistics", "Dense list"


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}\n{args.batch} rows of {args.width}, {args.experts} experts, "
        f"{args.tasks} tasks, {args.rounds} rounds, seed {args.seed}"
    )
    if args.short:
        print("A short run with toy sizes: its figures mean nothing.")
    missed = [str(units) for units in args.units if not table(args, units)]
    print(f"\nTargets missed: {', '.join(missed) or 'none'}.")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4096, help="rows")
    parser.add_argument("--width", type=int, default=256, help="of a row")
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 16], help="of an expert")
    parser.add_argument("--rounds", type=int, default=51, help="rounds of timing, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    args = parser.parse_args()
    if args.short:
        args.batch, args.width, args.rounds = 64, 16, 3
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


def table(args, units):
    """Print the times of all candidates. Returns whether no target is missed."""
    made = candidates(args, units)
    rng = np.random.default_rng(args.seed)
    rows = tf.constant(rng.normal(size=(args.batch, args.width)), tf.float32)
    steps = {name: train_step(*made[name], rows) for name in made}
    times = interleaved(steps, args.rounds, rng)
    print(f"\n{units} units; one GEMM: {1000 * np.median(times[GEMM]):.1f} ms")
    over = {name: ratio(times, name, GEMM) for name in made}
    target = None if args.short else TARGETS.get(units)
    met = target is not None and round(over[LAYER], 2) <= target
    for name in made:
        judged = "" if target is None or name != LAYER else f" ({target:.2f} {judge(met)})"
        print(f"{name:22}{over[name]:.2f} over one GEMM{judged}")
    print(f"{DENSE} over {LAYER}: {ratio(times, DENSE, LAYER):.2f}")
    return target is None or met


def judge(met):
    return "met" if met else "missed"


def candidates(args, units):
    """`name -> (function of rows, its weights)`."""
    gemm = keras.layers.Dense(args.experts * units, "relu")
    gemm.build((None, args.width))
    layer = MMoE(MLPExperts(args.experts, (units,)), num_tasks=args.tasks)
    layer.build((None, args.width))
    dense = [keras.layers.Dense(units, "relu") for _ in range(args.experts)]
    gates = [keras.layers.Dense(args.experts, "softmax", use_bias=False) for _ in range(args.tasks)]
    for part in (*dense, *gates):
        part.build((None, args.width))

    def dense_list(rows):
        outputs = tf.stack([expert(rows) for expert in dense], 1)  # [B, E, U]
        mixed = [tf.reduce_sum(gate(rows)[..., None] * outputs, 1) for gate in gates]
        return tf.stack(mixed, 1)

    return {
        GEMM: (gemm, gemm.trainable_weights),
        LAYER: (layer, layer.trainable_weights),
        COUNTED: (lambda rows: layer(rows, training=True), layer.trainable_weights),
        DENSE: (dense_list, [w for part in (*dense, *gates) for w in part.trainable_weights]),
    }


def train_step(function, weights, rows):
    """A function that computes the output's sum of products with fixed numbers, and gradients."""
    upstream = tf.random.stateless_normal(function(rows).shape, [1, 2])
    values = [weight.value for weight in weights]

    @tf.function
    def step(rows):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            loss = tf.reduce_sum(function(rows) * upstream)
        return loss, tape.gradient(loss, [rows, *values])

    return lambda: step(rows)[0].numpy()


if __name__ == "__main__":
    main()
