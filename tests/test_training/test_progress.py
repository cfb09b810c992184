"""Callbacks of a run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.training.runs.progress import FailOnNaN, Progress, dropped_fraction


def test_progress_measures_epochs_and_shows_little(capsys):
    progress = Progress(show=True)
    checkpoints = []

    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            checkpoints.append(dict(logs))

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    x = np.ones((8, 3))
    model.fit(x, x[:, :2], callbacks=[progress, Logs()], verbose=0)
    assert 0 < checkpoints[0]["seconds"] < 60
    shown = capsys.readouterr().out
    assert "loss:" in shown and "mae" not in shown
    model.fit(x, x[:, :2], callbacks=[Progress(show=False)], verbose=0)
    assert capsys.readouterr().out == ""


def test_the_dropped_fraction_is_the_mean_over_mixtures_in_training(capsys):
    fractions = {"encoder_moe_1_dropped_fraction": 0.125, "decoder_moe_1_dropped_fraction": 0.375}
    assert dropped_fraction({**fractions, "loss": 2.0, "val_moe_dropped_fraction": 1.0}) == 0.25
    assert dropped_fraction({"loss": 2.0}) is None
    progress = Progress(show=True)
    progress.set_params({"steps": 1, "epochs": 1})
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0, fractions)
    progress.on_epoch_end(0, dict(fractions))
    assert "dropped_fraction: 0.2500" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_run():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    targets = tf.constant([[1.0], [2.0], [float("inf")], [3.0]])
    with pytest.raises(RuntimeError, match=r"Received: loss=inf at batch 2 of the epoch\. Lower"):
        model.fit(tf.ones([4, 2]), targets, 1, shuffle=False, verbose=0, callbacks=[FailOnNaN()])
