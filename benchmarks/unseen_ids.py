"""Scores that a recommender gives to ids that training never saw, and the base rate.

Each id has a label of its own, half of them 1: an id tells much, and an unseen one nothing. For
each rate at which values are taken for unseen ones in training: the largest distance between the
mean score of unseen ids and the base rate over seeds, the log loss of unseen ids (0.693 is that of
the base rate), and the AUC of ids that were seen. "before" is a uniform table and no such value.
"""

import argparse

import keras
import numpy as np

from moe_zoo.experts import MLPExperts
from moe_zoo.layers import MMoE
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Category, Hashed, Number
from moe_zoo.models.recommender.tasks import BinaryTask
from moe_zoo.terminal import format_table
from moe_zoo.training.recipes.recommender.metrics import area_under_curve, log_loss

KINDS = {"category": Category, "hashed": lambda: Hashed(20_000)}
NOISE = 0.1  # share of labels that are not their id's


def draw(rng, ids, count):
    """Rows of some ids, and labels that are their id's but for the noise."""
    user = rng.choice(ids, count)
    click = (user % 2) ^ (rng.random(count) < NOISE)
    return {"x": rng.normal(size=count), "user": user}, {"click": click.astype("float32")}


def measure(kind, rate, uniform, seed, rows, ids, epochs):
    """Distance from the base rate and log loss of unseen ids, AUC of seen ones."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    names = rng.permutation(2 * ids)
    (x, y), seen, unseen = (
        draw(rng, part, count)
        for part, count in ((names[:ids], rows), (names[:ids], 2000), (names[ids:], 2000))
    )
    model = MultiTaskRecommender(
        {"x": Number(), "user": KINDS[kind]()},
        [BinaryTask("click")],
        MMoE(MLPExperts(8, (16,))),
        unseen_rate=rate,
    )
    model.adapt(x)
    if uniform:
        for layer in model.core.embeddings.values():
            for weight in layer.weights:
                weight.assign(keras.initializers.RandomUniform()(weight.shape))
    model.core.compile(keras.optimizers.Adam(1e-2))
    model.core.fit(model.encode(x), y, batch_size=256, epochs=epochs, verbose=0)
    scores, theirs = (
        np.asarray(model.core(model.encode(part[0]))["click"]) for part in (seen, unseen)
    )
    return (
        abs(theirs.mean() - y["click"].mean()),
        log_loss(unseen[1]["click"], theirs),
        area_under_curve(seen[1]["click"], scores),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000, help="of the training part")
    parser.add_argument("--ids", type=int, default=60, help="in it, and as many others")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5, help="from 0")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.05])
    parser.add_argument("--short", action="store_true", help="a minute, to see that it runs")
    options = parser.parse_args()
    if options.short:
        options.rows, options.epochs, options.seeds, options.rates = 2000, 8, 2, [0.02]
    table = []
    for kind in KINDS:
        for rate, uniform in ((0.0, True), *((rate, False) for rate in options.rates)):
            found = np.array(
                [
                    measure(kind, rate, uniform, seed, options.rows, options.ids, options.epochs)
                    for seed in range(options.seeds)
                ]
            )
            name = f"{kind}, before" if uniform else f"{kind}, rate {rate:g}"
            values = (found[:, 0].max(), found[:, 1].mean(), found[:, 2].mean())
            table.append(dict(zip("nabc", (name, *(f"{x:.3f}" for x in values)), strict=True)))
            print(f"{name}: {values[0]:.3f} {values[1]:.3f} {values[2]:.3f}", flush=True)
    columns = {"n": "", "a": "distance", "b": "log loss, unseen", "c": "AUC, seen"}
    print(f"\nUnseen ids, seeds 0 to {options.seeds - 1}\n{format_table(table, columns)}")


if __name__ == "__main__":
    main()
