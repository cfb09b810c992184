"""Training and evaluation steps as Keras' guides write them, which give labels to every metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo import routing_stats
from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.layers import MMoE, MoE
from moe_zoo.models.recommender.tasks import BinaryTask, RegressionTask
from moe_zoo.routers import SwitchRouter
from moe_zoo.tensorboard import RoutingCallback
from routing_events import read
from small_recommender import NAN, small

ROWS, D = 14, 5


class GuideModel(keras.Model):
    """The guide "Customizing what happens in fit() with TensorFlow", word for word."""

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred, sample_weight=sample_weight)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred, sample_weight=sample_weight)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        for metric in self.metrics:
            metric.update_state(*((loss,) if metric.name == "loss" else (y, y_pred)))
        return {m.name: m.result() for m in self.metrics}


def mixtures():
    inputs = keras.Input((D,))
    mixture = MoE(SwitchRouter(), FeedForwardExperts(3, 7), name="moe")(inputs)
    tasks = MMoE(MLPExperts(3, (4,)), name="mmoe", num_tasks=2)(mixture)
    return inputs, keras.layers.Dense(1)(keras.layers.Flatten()(tasks))


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, D)).astype("float32"), rng.normal(size=(ROWS, 1))


def test_steps_of_the_guide_log_what_keras_own_do():
    logs, states = [], []
    for model_class in (keras.Model, GuideModel):
        keras.utils.set_random_seed(1)
        model = model_class(*mixtures())
        model.compile("sgd", "mse", weighted_metrics=["mae"])
        given = dict(zip("xy", data(), strict=True), sample_weight=np.arange(ROWS) % 3)
        history = model.fit(**given, batch_size=7, epochs=2, shuffle=False, verbose=0).history
        model.evaluate(*data(), verbose=0)
        logs.append(history)
        states.append([routing_stats(model, training) for training in (True, False)])
    assert set(logs[0]) >= {"moe_balance_loss", "moe_load_cv", "mmoe_task_0_entropy", "mae"}
    assert set(logs[0]) == set(logs[1])
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-5, err_msg=name)
    for by_keras, by_guide in zip(*states, strict=True):
        for name, stats in by_keras.items():
            assert stats.steps == by_guide[name].steps and stats.tokens == by_guide[name].tokens
            np.testing.assert_array_equal(stats.load, by_guide[name].load)


# === Metrics of tasks, monitors, custom loops ===


@pytest.mark.parametrize("tasks", [["click", "rating"], ["click"]])
def test_metrics_of_tasks_take_the_labels_of_all_tasks(tasks):
    kinds = {"click": BinaryTask, "rating": RegressionTask}
    model = small([kinds[name](name) for name in tasks])
    columns = {"click": np.array([1.0, NAN, 0.0, 1.0]), "rating": np.array([2.0, 1.0, NAN, NAN])}
    y = {name: tf.constant(columns[name]) for name in tasks}
    x = {"x": tf.constant([1.0, -2.0, 0.5, 3.0])}
    model.compile("sgd")
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    model.reset_metrics()
    y_pred = model(x)
    for metric in model.metrics:  # as the guide has it
        if metric.name != "loss":
            metric.update_state(y, y_pred, sample_weight=None)
    found = model.get_metrics_result()
    for name, value in expected.items():
        if name != "loss":
            np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_callbacks_of_keras_follow_the_routing():
    model = keras.Model(*mixtures())
    model.compile("sgd", "mse")
    stop = keras.callbacks.EarlyStopping("moe_balance_loss", min_delta=9.0, patience=0, mode="min")
    history = model.fit(
        *data(), validation_data=data(), epochs=5, callbacks=[stop], verbose=0
    ).history
    assert len(history["loss"]) == 2  # no epoch after the first one is better by 9
    assert "val_moe_load_cv" in history


def test_a_loop_of_ones_own_reads_and_resets_every_metric():
    model = keras.Model(*mixtures())
    model(data()[0], training=True)
    by_name = {metric.name: metric.result() for metric in model.metrics}
    assert float(by_name["moe_routing"]["moe_balance_loss"]) > 0.0
    assert model.metrics_names.count("loss") == 0 and "moe_routing" in model.metrics_names
    before = routing_stats(model)
    model.reset_metrics()
    assert float(model.get_metrics_result()["moe_balance_loss"]) == 0.0
    assert routing_stats(model)["moe"].tokens == before["moe"].tokens == ROWS


class OwnMetrics(GuideModel):
    """The guide's model with a list of metrics of its own, of which Keras resets no others."""

    @property
    def metrics(self):
        return [self._loss_tracker]


def test_evaluation_is_written_alone_where_keras_resets_nothing(tmp_path):
    model = OwnMetrics(*mixtures())
    model.compile("sgd", "mse")
    x, y = data()
    model.fit(
        x,
        y,
        sample_weight=np.ones(ROWS),
        validation_data=(x[:3], y[:3]),
        callbacks=[RoutingCallback(tmp_path)],
        verbose=0,
    )
    ((_, entropy),) = read(tmp_path / "validation")[0]["moe/entropy"]
    stats = routing_stats(model, training=False)["moe"]
    assert stats.tokens == 3
    np.testing.assert_allclose(entropy, stats.entropy, rtol=1e-6)
