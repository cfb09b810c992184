"""A run over a recipe of a few lines: any Keras model on any data."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.files import new_file
from moe_zoo.training.runs.recipe import Recipe
from moe_zoo.training.runs.run import BEST, Run

STEPS, EPOCH = 6, 2


class Lines(Recipe):
    """Straight lines with noise, by models with and without dropout."""

    variants = ("dropout", "plain")
    steps, steps_per_epoch = STEPS, EPOCH

    def __init__(self, slope=2.0, monitor=None):
        self.slope, self.monitor, self.made, self.evaluated = slope, monitor, [], []

    def read(self):
        x = np.random.default_rng(0).normal(size=(STEPS * 5, 3)).astype("float32")
        self.rows = x, self.slope * x[:, :1]
        return {"slope": self.slope}

    def training_batches(self, variant, step):
        return tf.data.Dataset.from_tensor_slices(self.rows).batch(5).repeat().skip(step)

    def batches(self, part):
        return tf.data.Dataset.from_tensor_slices(self.rows).batch(7)

    def make_model(self, variant, on_mesh):
        assert not on_mesh
        self.made.append(variant)
        keras.utils.set_random_seed(1)
        rate = 0.5 if variant == "dropout" else 0.0
        layers = [keras.Input((3,)), keras.layers.Dropout(rate), keras.layers.Dense(1)]
        model = keras.Sequential(layers, name=variant)
        # At a rate of 3 each step makes the loss larger: the first epoch is the best.
        model.compile(keras.optimizers.SGD(3.0 if self.monitor else 0.1), "mse")
        return model

    def evaluate(self, model, history, run):
        self.evaluated.append(model.name)
        return {"mse": float(model.evaluate(self.batches("test"), verbose=0))}

    def save(self, model, run):
        with new_file(run.folder / "model.keras") as file:
            model.save(file)

    def show(self, rows, run):
        run.show(f"{len(rows)} rows")


class Interrupted(Lines):
    """Stops in the middle of the second epoch."""

    def training_batches(self, variant, step):
        def stop():
            raise RuntimeError("killed")

        end = tf.data.Dataset.range(1).map(
            lambda _: tuple(
                tf.ensure_shape(tf.numpy_function(stop, [], tf.float32), [None, size])
                for size in (3, 1)
            )
        )
        return super().training_batches(variant, step).take(EPOCH + 1).concatenate(end)


def train(folder, recipe, lines=None):
    show = (lines if lines is not None else []).append
    return Run(recipe, folder, show=show, progress=False).train_all()


def without_clock(rows):
    return [
        {
            **{k: v for k, v in row.items() if k != "seconds"},
            "history": [
                {k: v for k, v in epoch.items() if k != "seconds"} for epoch in row["history"]
            ],
        }
        for row in rows
    ]


def test_all_variants_are_trained_evaluated_and_kept(tmp_path):
    lines, recipe = [], Lines()
    rows = train(tmp_path / "run", recipe, lines)
    assert [row["model"] for row in rows] == recipe.made == recipe.evaluated == ["dropout", "plain"]
    assert [len(row["history"]) for row in rows] == [STEPS // EPOCH] * 2
    assert [row["parameters"] for row in rows] == [3 + 1] * 2
    saved = keras.models.load_model(tmp_path / "run" / "model.keras")
    assert saved.evaluate(recipe.batches("test"), verbose=0) == pytest.approx(rows[0]["mse"])
    assert json.loads((tmp_path / "run" / "results.json").read_text())["models"] == rows
    assert lines[0] == "\ndropout: 4 parameters" and lines[2] == "2 rows"
    assert lines[-1] == f"\nCurves and routing: tensorboard --logdir {tmp_path / 'run' / 'logs'}"

    again = Lines()
    assert train(tmp_path / "run", again) == rows
    assert again.made == again.evaluated == []
    with pytest.raises(ValueError, match=r"another run \(slope: 2\.0 there, 3\.0 now\)"):
        train(tmp_path / "run", Lines(slope=3.0))


def test_a_run_resumes_to_the_last_bit(tmp_path):
    peaceful = train(tmp_path / "peaceful", Lines())
    with pytest.raises(tf.errors.OpError, match="killed"):
        train(tmp_path / "run", Interrupted())
    assert [x.name for x in (tmp_path / "run" / "dropout").glob("step-*")] == ["step-00000002"]
    lines, recipe = [], Lines()
    assert without_clock(train(tmp_path / "run", recipe, lines)) == without_clock(peaceful)
    assert recipe.made == ["plain"] and lines[0].endswith(", resuming at step 2")


def test_the_best_epoch_is_evaluated(tmp_path):
    recipe = Lines(monitor="val_loss")
    rows = train(tmp_path / "run", recipe)
    for variant, row in zip(recipe.variants, rows, strict=True):
        losses = [epoch["val_loss"] for epoch in row["history"]]
        assert np.argmin(losses) != len(losses) - 1, "the last epoch says nothing"
        assert row["mse"] == pytest.approx(min(losses), rel=1e-5)
        assert (tmp_path / "run" / variant / BEST).exists()
    (tmp_path / "run" / "plain" / BEST).write_bytes(b"")
    with pytest.raises(ValueError, match=r"Expected the model of the best epoch.*best\.keras"):
        train(tmp_path / "run", Lines(monitor="val_loss"))
