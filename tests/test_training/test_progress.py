"""Callbacks of a run."""

import keras
import pytest
import tensorflow as tf

from moe_zoo.training.runs.progress import FailOnNaN


def test_a_loss_that_is_not_finite_ends_the_run():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    targets = tf.constant([[1.0], [2.0], [float("inf")], [3.0]])
    with pytest.raises(RuntimeError, match=r"Received: loss=inf at batch 2 of the epoch\. Lower"):
        model.fit(tf.ones([4, 2]), targets, 1, shuffle=False, verbose=0, callbacks=[FailOnNaN()])
