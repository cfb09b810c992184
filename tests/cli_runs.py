"""A tiny run of the `moe-zoo` command, for the tests of the command."""

from moe_zoo.training.cli import main

TINY = [
    *("--num-experts", "5", "--top-k", "2", "--vocabulary-size", "300"),
    *("--batch-size", "3", "--sequence-length", "7"),
    *("--steps", "4", "--steps-per-epoch", "2", "--warmup-steps", "2", "--quiet"),
]


def train(text, output, *options):
    return main(["train", "lstm_lm", "--data", str(text), "--output", str(output), *TINY, *options])
