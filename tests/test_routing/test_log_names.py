"""Names in the logs of `fit` where several layers of a model are called the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import slow_but
from moe_zoo import routing_stats
from moe_zoo.experts import FeedForwardExperts, MLPExperts
from moe_zoo.layers import MMoE, MoE
from moe_zoo.routers import SwitchRouter
from moe_zoo.tensorboard import RoutingCallback
from small_moe import normal

ROWS, D = 14, 5


class Block(keras.layers.Layer):
    """A residual mixture in a layer of a user's own; each weighs its losses differently."""

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        router = SwitchRouter(jitter=0.0, balance_loss_weight=weight)
        self.mixture = MoE(router, FeedForwardExperts(3, 7), name="moe")

    def call(self, x, training=None):
        return x + self.mixture(x, training=training)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = Block(0.5, name="first"), Block(0.25, name="second")
        self.head = keras.layers.Dense(1)

    def call(self, x, training=None):
        return self.head(self.second(self.first(x, training=training), training=training))


class Composite(Subclassed):
    """Calls its blocks from a step of its own, and never itself."""

    def train_step(self, data):
        with tf.GradientTape() as tape:
            x = self.first(data[0], training=True)
            losses = list(self.first.losses)  # the next call clears them
            x = self.second(x, training=True)
            loss = tf.reduce_mean(self.head(x) ** 2) + tf.add_n(losses + self.second.losses)
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self._loss_tracker.update_state(loss)
        return self.get_metrics_result()


def functional():
    inputs = keras.Input((D,))
    x = Block(0.25, name="second")(Block(0.5, name="first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(x))


def composite():
    model = Composite()
    model(normal(ROWS, D))
    return model


@pytest.mark.parametrize(
    ("make", "eager"),
    slow_but(
        [(functional, False), (Subclassed, True), (composite, False)],
        [(functional, False), (Subclassed, False), (Subclassed, True), (composite, False)],
    ),
)
def test_each_layer_has_its_own_names_in_the_logs(make, eager):
    model = make()
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=eager)
    logs = model.fit(
        normal(ROWS, D), np.ones(ROWS), batch_size=7, callbacks=[RoutingCallback()], verbose=0
    ).history
    stats = routing_stats(model)
    assert len(stats) == 2 and "moe" in stats
    other = next(name for name in stats if name != "moe")
    assert other.endswith("second/moe")
    for name, each in stats.items():
        loss = each.losses["balance_loss"]
        np.testing.assert_allclose(logs[f"{name}_balance_loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(logs[f"{name}_entropy"], each.entropy, rtol=1e-5)
    losses = [logs[f"{name}_balance_loss"][0] for name in stats]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(logs["task_loss"], logs["loss"][0] - sum(losses), rtol=1e-5)


def test_layers_of_several_tasks_and_those_of_one_path():
    inputs = keras.Input((D,))
    towers = [
        keras.Sequential([MMoE(MLPExperts(3, (4,)), name="mixing", num_tasks=2)], name=name)
        for name in "ab"
    ]
    model = keras.Model(inputs, [tower(inputs) for tower in towers])
    model(normal(ROWS, D), training=True)
    names = ["mixing_task_0", "mixing_task_1", "b/mixing_task_0", "b/mixing_task_1"]
    assert list(routing_stats(model)) == names
    assert {f"{name}_entropy" for name in names} <= set(model.get_metrics_result())
    assert [f"{name}_routing" for name in names] == [m.name for m in dict.fromkeys(model.metrics)]


def test_a_name_of_its_own_stays_as_it_is():
    inner = functional()
    inputs = keras.Input((D,))
    mixture = MoE(SwitchRouter(), FeedForwardExperts(3, 7), name="moe")
    outer = keras.Model(inputs, inner(mixture(inputs)))
    outer(normal(ROWS, D), training=True)
    names = set(outer.get_metrics_result())
    assert {f"{x}_balance_loss" for x in ("moe", "first/moe", "second/moe")} <= names
