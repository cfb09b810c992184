"""What `RoutingCallback` costs at its default interval: time of an epoch with it over one without.

A decoder-only Transformer with experts in every other block trains in one call of `fit`. In every
second epoch the callback works: it writes every 100 steps, and at the end of the epoch pairs of
experts and the routing of 4 texts. An epoch is as short as the interval, which is the worst case.

    over without    time of an epoch over that of the one before it without; median over rounds
    inside          share of an epoch's time within the callback's methods; median over rounds
    once            seconds more of the first epoch, in which the graph of the examples is made
"""

import argparse
import os
import platform
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerLanguageModel
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import GShardRouter, SwitchRouter
from moe_zoo.tensorboard import RoutedExamples, RoutingCallback

TARGET = 1.03
TEXTS, TEXT_LENGTH = 4, 48
ROUTERS = {"switch": SwitchRouter, "gshard": GShardRouter}


class EveryOtherEpoch(keras.callbacks.Callback):
    """Lets a callback work in odd epochs only, and times all epochs."""

    def __init__(self, callback):
        super().__init__()
        self.callback = callback
        self.seconds: list[float] = []  # of each epoch
        self.inside: list[float] = []  # of them within the callback

    def set_model(self, model):
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs=None):
        self.callback.on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._works = epoch % 2 == 1
        self.inside.append(0.0)
        self._start = time.perf_counter()
        self._call(self.callback.on_epoch_begin, epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._call(self.callback.on_train_batch_end, batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._call(self.callback.on_epoch_end, epoch, logs)
        self.seconds.append(time.perf_counter() - self._start)

    def _call(self, method, *arguments):
        start = time.perf_counter()
        if self._works:
            method(*arguments)
        self.inside[-1] += time.perf_counter() - start

    def on_train_end(self, logs=None):
        self.callback.on_train_end(logs)


def main():
    args = parse_arguments()
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}\nwidth {args.width}, {args.layers} layers, {args.experts} "
        f"experts in every other one, {args.batch} x {args.length} tokens, epochs of {args.steps} "
        f"steps, {args.rounds} rounds, seed {args.seed}"
    )
    if args.short:
        print("A short run with toy sizes: its figures mean nothing.")
    print(f"\n{'router':10}{'ms a step':>12}{'over without':>16}{'inside':>10}{'once, s':>10}")
    for name, router in ROUTERS.items():
        keras.utils.set_random_seed(args.seed)
        seconds, inside = train(args, router)
        without, with_callback = seconds[2::2], seconds[3::2]
        over = float(np.median(with_callback / without))
        share = float(np.median(inside[3::2] / with_callback))
        once = inside[1] - np.median(inside[3::2])
        verdict = "" if args.short else f" ({TARGET} {'met' if over <= TARGET else 'missed'})"
        step = 1000 * np.median(without) / args.steps
        print(f"{name:10}{step:>12.1f}{over:>16.4f}{share:>10.2%}{once:>10.1f}{verdict}")


def train(args, router):
    """Seconds of each epoch, and within the callback; in the first two graphs are made."""
    rng = np.random.default_rng(args.seed)
    tokens = rng.integers(1, args.vocabulary, (args.batch, args.length + 1))
    x, y = tokens[:, :-1], tokens[:, 1:]
    data = tf.data.Dataset.from_tensors((x, y)).cache().repeat()
    model = TransformerLanguageModel(
        args.vocabulary,
        args.width,
        args.layers,
        attention=Attention(num_heads=max(args.width // 32, 1)),
        feed_forward=FeedForward(args.hidden),
        moe=MoE(router(), FeedForwardExperts(args.experts, args.hidden)),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    texts = x[:TEXTS, :TEXT_LENGTH]
    examples = RoutedExamples(texts, texts.astype(str))
    with tempfile.TemporaryDirectory() as folder:
        timer = EveryOtherEpoch(RoutingCallback(folder, examples=examples))
        model.fit(
            data,
            steps_per_epoch=args.steps,
            epochs=2 + 2 * args.rounds,
            shuffle=False,
            verbose=0,
            callbacks=[timer],
        )
    return np.array(timer.seconds), np.array(timer.inside)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=8, metavar="E")
    parser.add_argument("--width", type=int, default=256, help="D")
    parser.add_argument("--hidden", type=int, default=1024, help="hidden units of an expert")
    parser.add_argument("--layers", type=int, default=4, help="every second one with experts")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4, help="rows")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of epochs, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    args = parser.parse_args()
    if args.short:
        args.width, args.hidden, args.layers, args.rounds, args.steps = 32, 64, 2, 2, 3
        args.vocabulary, args.batch, args.length = 50, 4, 16
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


if __name__ == "__main__":
    main()
