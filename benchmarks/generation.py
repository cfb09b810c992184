"""Generation with a cache of keys and values against computing the whole text anew for each token.

    cache        moe_zoo.models.generate with the model's `step`: each token is computed once
    recompute    for each new token a full pass over the tokens so far, by a loop in the graph too
    beams        moe_zoo.models.decoding.beam_search with the cache, for comparison

The first two write the same text, greedily, from a prompt of one token on. All run in one process,
in random order in every round; a figure is the median over rounds of the ratio within a round.
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

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.export import serving_mode
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerLanguageModel, beam_search, generate
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import SwitchRouter

CACHE, RECOMPUTE = "cache", "recompute"
TARGET = 5.0  # recompute over cache, at 128 tokens
NEVER = [0]  # padding


def main():
    args = parse_arguments()
    keras.utils.set_random_seed(args.seed)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}\nwidth {args.width}, {args.layers} layers, {args.experts} "
        f"experts in every other one, vocabulary {args.vocabulary}, {args.batch} texts, "
        f"{args.rounds} rounds, seed {args.seed}"
    )
    if args.short:
        print("A short run with toy sizes: its figures mean nothing.")
    met = True
    with serving_mode(model := make_model(args)):
        for tokens in args.tokens:
            met &= table(args, model, tokens)
    print(f"\nTarget {'met' if met else 'missed'}.")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="texts written side by side")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=4000)
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 128], help="of a text")
    parser.add_argument("--beams", type=int, default=4, help="beams of the beam search")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of timing, at least 9")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="toy sizes: proves that it runs")
    args = parser.parse_args()
    if args.short:
        args.width, args.layers, args.experts, args.vocabulary = 16, 2, 2, 50
        args.tokens, args.rounds = [7], 3
    elif args.rounds < 9:
        parser.error(f"Expected at least 9 rounds. Received: rounds={args.rounds}.")
    return args


def make_model(args):
    return TransformerLanguageModel(
        args.vocabulary,
        args.width,
        args.layers,
        Attention(num_heads=4),
        FeedForward(4 * args.width),
        MoE(SwitchRouter(), FeedForwardExperts(args.experts, 4 * args.width)),
    )


def table(args, model, tokens):
    """Print the times at one length. Returns whether no target is missed."""
    made = candidates(args, model, tokens)
    texts = {name: function().numpy() for name, function in made.items()}
    assert np.array_equal(texts[CACHE], texts[RECOMPUTE]), "the two write different texts"
    steps = {name: lambda function=function: function().numpy() for name, function in made.items()}
    times = interleaved(steps, args.rounds, np.random.default_rng(args.seed))
    print(f"\n{tokens} tokens; {CACHE}: {1000 * np.median(times[CACHE]):.1f} ms")
    over = {name: ratio(times, name, CACHE) for name in made}
    target = TARGET if tokens == 128 and not args.short else None
    met = target is None or over[RECOMPUTE] >= target
    for name in made:
        judged = ""
        if target is not None and name == RECOMPUTE:
            judged = f" (at least {target:.1f} {'met' if met else 'missed'})"
        print(f"{name:12}{over[name]:.2f} over {CACHE}{judged}")
    return met


def candidates(args, model, tokens):
    """`name -> tf.function` that gives texts `<int32>[B, tokens]`, the prompt among them."""
    start = tf.ones([args.batch, 1], tf.int32)
    prompts = tf.RaggedTensor.from_tensor(start)
    states = model.initial_states(args.batch, tokens - 1)

    @tf.function
    def cache():
        found = generate(
            model.step, states, prompts, tokens - 1, 0.0, 0, 1.0, 0, end=-1, never=NEVER
        )
        return found.to_tensor()

    @tf.function
    def recompute():
        text = tf.pad(start, [[0, 0], [0, tokens - 1]])

        def turn(place, text):
            logits = tf.cast(model(text[:, :place]), tf.float32)[:, -1]
            chosen = tf.math.top_k(logits[:, 1:], 1).indices + 1  # 0 is padding
            here = tf.range(tokens) == place
            return place + 1, tf.where(here, chosen, text)

        return tf.while_loop(lambda place, text: place < tokens, turn, (1, text))[1]

    @tf.function
    def beams():
        found = beam_search(
            model.step, states, prompts, tokens - 1, args.beams, 0.6, end=-1, never=NEVER
        )
        return found.to_tensor()

    return {CACHE: cache, RECOMPUTE: recompute, f"{args.beams} beams": beams}


if __name__ == "__main__":
    main()
