"""Do the balancing losses keep the experts in use? Table 6 of the sparsely-gated MoE paper, small.

A model with one mixture of experts behind noisy top-k gating learns to predict the next character
of Python's own standard library, with the six pairs of weights (w_importance, w_load) of Shazeer
et al. 2017, table 6. As in the paper the gate starts at zero, so that all of the routing is noise
at first, the router drops nothing, and each token goes to 4 experts. A seed gives each pair the
same initial weights and the same batches.

What is measured:
    test ppl: perplexity of a character, on files that training never saw, without noise.
    CV(imp), CV(load), max/mean: how uneven the experts' sums of gates and numbers of tokens are,
        over the last quarter of training, noise included. When 4 of 32 experts do everything,
        CV(load) is sqrt(32 / 4 - 1) = 2.65 and max/mean is 8; with equal loads they are 0 and 1.
    test max/mean: the same for the test characters, without noise.

A figure is the mean over seeds with its 95% interval (Student's t); the paper's figures stand below
ours. Differs from the paper in: size (32 experts, the paper 256), characters in place of words, no
LSTMs, no sigmoid and no dropout after the mixture, a constant learning rate.
"""

import argparse
import os
import sys
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import NoisyTopKRouter
from moe_zoo.stats import routing_stats
from moe_zoo.training.recipes.recommender.interval import format_interval
from moe_zoo.training.text.corpus import read_corpus
from moe_zoo.training.text.text_dataset import language_model_batches

# (w_importance, w_load): test perplexity of a word, CV(importance), CV(load), max/mean load
PAPER = {
    (0.0, 0.0): (39.8, 3.04, 3.01, 17.80),
    (0.2, 0.0): (35.6, 0.06, 0.17, 1.47),
    (0.0, 0.2): (35.7, 0.22, 0.04, 1.15),
    (0.1, 0.1): (35.6, 0.06, 0.05, 1.14),
    (0.01, 0.01): (35.7, 0.48, 0.11, 1.37),
    (1.0, 1.0): (35.7, 0.03, 0.02, 1.07),
}
COLUMNS = ("test ppl", "CV(imp)", "CV(load)", "max/mean", "test max/mean")

CHARACTERS = 128
BATCH, LENGTH = 16, 64
EMBEDDING, WIDTH, HIDDEN, CONTEXT = 32, 64, 64, 8
LEARNING_RATE = 3e-3


class Text(NamedTuple):
    """Characters as `<int32>[N]`."""

    train: np.ndarray
    test: np.ndarray


def main():
    args = parse_arguments()
    started = time.perf_counter()
    text = read_text(args.test_characters)
    print(describe(args, text), flush=True)
    measured = {weights: [] for weights in PAPER}
    for seed in range(args.seed, args.seed + args.seeds):
        for weights in PAPER:
            figures = run(weights, seed, text, args)
            measured[weights].append(figures)
            progress(started, weights, seed, figures)
    print(table(measured))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, choices=range(1, 11), default=3, help="number of seeds (default: 3)")
    add("--seed", type=int, default=0, help="the first seed (default: 0)")
    add("--steps", type=int, default=1000, help="training steps of a run (default: 1000)")
    add("--experts", type=int, default=32, help="number of experts (default: 32)")
    add("--top-k", type=int, default=4, help="experts of a token (default: 4)")
    add("--test-characters", type=int, default=200_000, help="(default: 200000)")
    add("--short", action="store_true", help="one seed and 160 steps: some 40 seconds")
    args = parser.parse_args()
    if args.short:
        args.seeds, args.steps, args.test_characters = 1, 160, 50_000
    if args.steps < 4:
        parser.error(f"Expected at least 4 steps. Received: steps={args.steps}.")
    return args


def read_text(test_characters):
    """The training text and the first characters of the test text; what is not ASCII is `?`."""
    corpus = read_corpus()
    parts = ("\0".join(document.text for document in part) for part in (corpus.train, corpus.test))
    train, test = (
        np.frombuffer(part.encode("ascii", "replace"), np.uint8).astype("int32") for part in parts
    )
    return Text(train, test[: test_characters // LENGTH * LENGTH + 1])


def build_model(weights, seed, args):
    importance, load = weights
    router = NoisyTopKRouter(
        args.top_k,
        capacity_factor=None,
        eval_capacity_factor=None,
        importance_loss_weight=importance,
        load_loss_weight=load,
        seed=seed,
    )
    characters = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(CHARACTERS, EMBEDDING)(characters)
    x = keras.layers.Conv1D(WIDTH, CONTEXT, padding="causal", activation="relu")(x)
    x = keras.layers.add([x, MoE(router, FeedForwardExperts(args.experts, HIDDEN), name="moe")(x)])
    model = keras.Model(characters, keras.layers.Dense(CHARACTERS)(x))
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def run(weights, seed, text, args):
    """Train and test one model; one figure for each of `COLUMNS`."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = build_model(weights, seed, args)

    def start_statistics(epoch, logs):
        routing_stats(model, reset=True)

    model.fit(
        language_model_batches(text.train, BATCH, LENGTH, seed),
        epochs=4,  # of which the last one is measured
        steps_per_epoch=args.steps // 4,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=start_statistics)],
    )
    training = routing_stats(model)["moe"]
    inputs, targets = (x.reshape(-1, LENGTH) for x in (text.test[:-1], text.test[1:]))
    loss = model.evaluate(inputs, targets, BATCH * 4, verbose=0, return_dict=True)["loss"]
    test = routing_stats(model, training=False)["moe"]
    return (
        float(np.exp(loss)),
        float(training.importance.std() / training.importance.mean()),
        training.load_cv,
        float(training.load.max() / training.load.mean()),
        float(test.load.max() / test.load.mean()),
    )


def describe(args, text):
    return (
        f"{args.experts} experts of {HIDDEN} hidden units, top {args.top_k}, width {WIDTH}; "
        f"{args.steps} steps of {BATCH} x {LENGTH} of {len(text.train):,} characters; "
        f"{len(text.test) - 1:,} test characters; Adam {LEARNING_RATE}; "
        f"seeds {args.seed} to {args.seed + args.seeds - 1}"
    )


def progress(started, weights, seed, figures):
    shown = ", ".join(f"{name} {value:.2f}" for name, value in zip(COLUMNS, figures, strict=True))
    seconds = time.perf_counter() - started
    print(f"{seconds:5.0f} s  {weights} seed {seed}: {shown}", file=sys.stderr, flush=True)


def table(measured):
    """Markdown: a row of ours and a row of the paper for each pair of weights."""
    rows = [("w_imp", "w_load", "", *COLUMNS), ("---",) * (3 + len(COLUMNS))]
    for weights, runs in measured.items():
        ours = [format_interval(column, 2) for column in zip(*runs, strict=True)]
        paper = [f"{value:.2f}" for value in PAPER[weights]]
        paper[0] = f"{PAPER[weights][0]:.1f}"
        rows.append((*map(str, weights), "here", *ours))
        rows.append(("", "", "paper", *paper, ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (" | ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)) for r in rows)
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
