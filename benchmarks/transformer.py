"""Training speed of Transformers with experts, over that of their FLOP-matched dense baseline.

The baseline is the same model without experts: every feed-forward layer has as many hidden units as
the experts that a token gets have together. All models train on the same batch in one process, in
random order in every round; a figure is the median over rounds of tokens per second over the
baseline's in the same round.

    python benchmarks/transformer.py           # 8 and 32 experts, Switch and GShard
    python benchmarks/transformer.py --short   # toy sizes, to see that it works
"""

import argparse
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerLanguageModel
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import GShardRouter, SwitchRouter

TARGET = 0.75  # of the baseline's tokens per second
BASELINE = "dense baseline"


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    print(describe(args))
    models = {BASELINE: make(args, None)}
    for num_experts in args.experts:
        models[f"switch, {num_experts} experts"] = make(
            args, MoE(SwitchRouter(seed=1), FeedForwardExperts(num_experts, args.hidden))
        )
        models[f"gshard, {num_experts} experts"] = make(
            args, MoE(GShardRouter(seed=1), FeedForwardExperts(num_experts, args.hidden // 2))
        )
    rng = np.random.default_rng(args.seed)
    tokens = rng.integers(1, args.vocabulary, (args.batch, args.length + 1))
    steps = {
        name: lambda model=model: model.train_on_batch(tokens[:, :-1], tokens[:, 1:])
        for name, model in models.items()
    }
    times = interleaved(steps, args.rounds, rng)
    missed = 0
    print(f"\n{'':24}{'parameters':>12}{'tokens/s':>10}  over the baseline's")
    for name, model in models.items():
        speed = args.batch * args.length / np.median(times[name])
        over = float(np.median(times[BASELINE] / times[name]))
        verdict = ""
        if name != BASELINE and not args.short:
            missed += round(over, 2) < TARGET
            verdict = f" ({TARGET} {'met' if round(over, 2) >= TARGET else 'missed'})"
        print(f"{name:24}{model.count_params():>12,}{speed:>10,.0f}  {over:.2f}{verdict}")
    if not args.short:
        print(f"\n{2 * len(args.experts) - missed} of {2 * len(args.experts)} targets met.")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32], metavar="E")
    parser.add_argument("--width", type=int, default=256, help="D")
    parser.add_argument("--hidden", type=int, default=1024, help="hidden units that a token gets")
    parser.add_argument("--layers", type=int, default=4, help="every second one with experts")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16, help="rows")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    args = parser.parse_args()
    if args.short:
        args.experts, args.width, args.hidden, args.layers, args.rounds = [8], 32, 64, 2, 2
        args.vocabulary, args.batch, args.length = 50, 4, 16
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


def describe(args):
    note = "\nA short run with toy sizes: its figures mean nothing." if args.short else ""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}\nwidth {args.width}, {args.layers} layers, {args.hidden} "
        f"hidden units a token, {args.batch} x {args.length} tokens, Adam, {args.rounds} rounds, "
        f"seed {args.seed}{note}"
    )


def make(args, moe):
    """A compiled language model; with `moe` in every second block if that is given."""
    model = TransformerLanguageModel(
        args.vocabulary,
        args.width,
        args.layers,
        attention=Attention(num_heads=max(args.width // 32, 1)),
        feed_forward=FeedForward(args.hidden),
        moe=moe,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)  # slower on CPUs
    return model


if __name__ == "__main__":
    main()
