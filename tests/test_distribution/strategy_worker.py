"""A process of test_strategies.py: one training under any strategy of `tf.distribute`."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from moe_zoo import routing_stats
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SwitchRouter

ROWS, D, STEPS = 12, 5, 3
X = np.random.default_rng(0).normal(size=(ROWS, D)).astype("float32")


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((D,))
    outputs = MoE(SwitchRouter(balance_loss_weight=0.5), FeedForwardExperts(3, 7))(inputs)
    return keras.Model(inputs, outputs)


def train(strategy):
    """Each replica has the same rows, and gives its share of the loss."""
    with strategy.scope():
        model = make_model()
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

    def replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X, training=True) - X)) + tf.add_n(model.losses)
            loss /= strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, [w.value for w in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    step = tf.function(lambda: strategy.reduce("SUM", strategy.run(replica), axis=None))
    losses = [float(step()) for _ in range(STEPS)]
    (stats,) = routing_stats(model, reset=True).values()
    (after,) = routing_stats(model).values()
    return {
        "losses": losses,
        "weights": [w.numpy().tolist() for w in model.trainable_variables],
        "loads": (stats.load / strategy.num_replicas_in_sync).tolist(),
        "tokens": [stats.tokens // strategy.num_replicas_in_sync, after.tokens],
    }


def fit(strategy):
    """Losses of Keras' own `fit`, or the text of its error."""
    with strategy.scope():
        model = make_model()
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    try:
        return model.fit(X, X, ROWS, epochs=STEPS, shuffle=False, verbose=0).history["loss"]
    except ValueError as error:
        return str(error)


def main(path):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    results = {**train(strategy), "fit": fit(strategy)}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(sys.argv[1])
