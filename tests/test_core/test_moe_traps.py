"""The mistakes that users of other mixture-of-experts libraries reported: one test each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.experts.experts import Experts
from moe_zoo.layers import MoE
from moe_zoo.routers import GShardRouter, SwitchRouter
from small_moe import ROUTERS, WITH_CAPACITY, D, E, F, normal


class Echo(Experts):
    """Experts that give back what they see, and keep it."""

    def build(self, input_shape):
        self.seen = []

    def compute(self, rows, layout, training):
        self.seen.append(rows)
        return tf.identity(rows)

    def compute_output_shape(self, rows_shape):
        return rows_shape


def build(router, experts=None, seed=1, **kwargs):
    """A layer whose weights are not zero."""
    layer = MoE(router, experts or FeedForwardExperts(E, F), **kwargs)
    layer.build((None, None, D))
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def all_to_expert_0(layer):
    """Positive tokens now all choose expert 0."""
    layer.router.kernel.assign(np.eye(E)[[0] * D])
    return layer


def test_trap_jitter_leaks_into_the_experts():
    x = normal(1, 11, D)
    for factor in (float(E), None):
        layer = build(SwitchRouter(jitter=0.5, capacity_factor=factor, seed=2), Echo(E))
        layer(x, training=True)
        seen = layer.experts.seen[-1].numpy().reshape(-1, D)
        seen = {tuple(row) for row in seen if np.any(row)}
        assert seen == {tuple(row) for row in x[0].numpy()}


def test_trap_jitter_is_never_tried():
    """It must change the gates, by a factor within [1 - eps, 1 + eps] of the router's input."""
    layer = build(SwitchRouter(jitter=0.5, capacity_factor=float(E), seed=2), Echo(E))
    x = normal(1, 11, D)
    first, second = layer(x, training=True), layer(x, training=True)
    assert np.any(np.abs(first - second) > 1e-3)
    np.testing.assert_array_equal(layer(x, training=False), layer(x, training=False))
    # One input, one weight: the logit w x r with r in [.5, 1.5] fixes the range of the gate.
    router = SwitchRouter(num_experts=2, jitter=0.5, kernel_initializer="identity", top_k=2)
    router.build((None, None, 2))
    plan = router(tf.tile(tf.constant([[[2.0, 0.0]]]), [1, 999, 1]), training=True)
    gap = plan.probabilities[..., 0] / plan.probabilities[..., 1]  # exp(2 r)
    ratio = np.log(gap) / 2
    assert 0.5 <= ratio.min() < 0.52 and 1.48 < ratio.max() <= 1.5 + 1e-5


def test_trap_gate_applied_twice():
    layer = build(SwitchRouter(eval_capacity_factor=float(E)), Echo(E))
    x = normal(1, 11, D)
    gates = tf.reduce_max(tf.nn.softmax(tf.matmul(x, layer.router.kernel[None])), -1)
    np.testing.assert_allclose(layer(x, training=False), x * gates[..., None], rtol=1e-5)


def test_trap_dropped_token_gives_a_scaled_copy_of_the_input():
    layer = all_to_expert_0(build(SwitchRouter(eval_capacity_factor=1.0, min_capacity=1)))
    outputs = layer(1.0 + tf.abs(normal(1, 11, D)), training=False)[0].numpy()
    assert np.all(np.any(outputs[:4] != 0, axis=1))  # ceil(11 / 3) = 4 slots
    np.testing.assert_array_equal(outputs[4:], np.zeros((7, D)))


def test_trap_capacity_is_never_enforced():
    layer = all_to_expert_0(build(SwitchRouter(capacity_factor=1.0, min_capacity=1), Echo(E)))
    layer(1.0 + tf.abs(normal(1, 11, D)), training=True)
    assert layer.experts.seen[-1].shape == (E, 4, D)
    assert not np.any(layer.experts.seen[-1][1:])  # nobody else has work


def test_trap_capacity_argument_is_ignored():
    x = normal(1, 12, D)
    for factor, capacity in ((0.5, 2), (1.0, 4), (2.0, 8), (9.0, 12)):
        layer = build(SwitchRouter(capacity_factor=factor, min_capacity=1), Echo(E))
        layer(x, training=True)
        assert layer.experts.seen[-1].shape == (E, capacity, D)


def test_trap_evaluation_capacity_leaks_into_training():
    layer = build(SwitchRouter(capacity_factor=1.0, eval_capacity_factor=2.0, min_capacity=1),
                  Echo(E))  # fmt: skip
    x = normal(1, 12, D)
    for training, capacity in ((True, 4), (False, 8), (True, 4), (None, 8), (True, 4)):
        layer(x, training=training)
        assert layer.experts.seen[-1].shape == (E, capacity, D)


def test_trap_one_choice_gives_the_router_no_gradient():
    layer = build(SwitchRouter(jitter=0.0))
    x = normal(1, 11, D)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) ** 2)  # the task's loss alone
    gradient = tape.gradient(loss, layer.router.kernel)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("router_class", WITH_CAPACITY)
def test_trap_auxiliary_loss_is_computed_and_never_added(router_class):
    """`fit` with a task loss of zero still moves the router, and reports a loss."""
    layer = build(router_class(seed=1))
    inputs = keras.Input((11, D))
    model = keras.Model(inputs, layer(inputs) * 0.0)
    model.compile("sgd", "mse")
    before = layer.router.kernel.numpy()
    experts = layer.experts.kernel_in.numpy()
    history = model.fit(normal(4, 11, D), tf.zeros([4, 11, D]), batch_size=4, verbose=0)
    assert history.history["loss"][0] > 1e-3
    assert np.any(layer.router.kernel.numpy() != before)
    np.testing.assert_array_equal(layer.experts.kernel_in, experts)
    logs = model.evaluate(normal(4, 11, D), tf.zeros([4, 11, D]), verbose=0, return_dict=True)
    assert logs["loss"] == 0.0  # evaluation adds none


def test_trap_losses_pile_up_over_calls():
    layer = build(SwitchRouter())
    x = normal(1, 11, D)

    @tf.function
    def loss():
        layer(x, training=True)
        return tf.add_n(layer.losses)

    layer.router.jitter = 0.0
    np.testing.assert_allclose(loss(), loss())
    layer(x, training=True)
    layer(x, training=True)
    assert len(layer.losses) <= 2  # Keras keeps those of one step: never more than the calls'


@pytest.mark.parametrize("router_class", ROUTERS)
def test_trap_results_depend_on_batch_mates(router_class):
    dropless = {"eval_capacity_factor": None} if router_class in WITH_CAPACITY else {}
    layer = build(router_class(**dropless))
    x = normal(7, 4, D)
    together = layer(x, training=False)
    alone = tf.concat([layer(x[i : i + 1], training=False) for i in range(7)], 0)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    twisted = layer(tf.reverse(x, [0]), training=False)
    np.testing.assert_allclose(tf.reverse(twisted, [0]), together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("group_size", [None, 9])
def test_trap_last_batch_is_smaller_and_other_batches_have_other_sizes(group_size):
    layer = build(SwitchRouter(eval_capacity_factor=None), group_size=group_size)
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    x = normal(7, 4, D)
    model.fit(x, x, batch_size=3, verbose=0)  # batches of 3, 3 and 1
    expected = layer(x, training=False)
    np.testing.assert_allclose(model.predict(x, batch_size=5, verbose=0), expected, atol=1e-5)
    assert model.predict(normal(2, 6, D), verbose=0).shape == (2, 6, D)


@pytest.mark.parametrize("router_class", WITH_CAPACITY)
def test_trap_more_choices_than_tokens(router_class):
    # k = E = 3 with one or two tokens: nothing to rank tokens by, nothing may crash.
    for size in (1, 2):
        kwargs = {"top_k": E, "z_loss_weight": 0.1, "seed": 1}
        layer = build(router_class(**kwargs))
        outputs = layer(normal(1, size, D), training=True)
        assert np.all(np.isfinite(outputs)) and np.all(np.isfinite(layer.losses))


def test_trap_ties_break_by_chance():
    # Equal logits everywhere: the lower index wins, eager, in a graph and under XLA alike.
    layer = build(SwitchRouter())
    layer.router.kernel.assign(tf.zeros([D, E]))
    x = normal(1, 11, D)
    plans = [
        function(lambda: layer.router(x, training=False).experts)
        for function in (
            lambda f: f(),
            lambda f: tf.function(f)(),
            lambda f: tf.function(f, jit_compile=True)(),
        )
    ]
    for experts in plans:
        np.testing.assert_array_equal(experts, np.zeros((1, 1, 11)))


def test_trap_every_expert_runs_on_every_token():
    """Sparse in name only: here the experts' rows are the capacity's, or the choices' alone."""
    x = normal(1, 12, D)
    layer = build(SwitchRouter(capacity_factor=1.0, min_capacity=1), Echo(E))
    layer(x, training=True)
    assert layer.experts.seen[-1].shape == (E, 4, D)  # 12 rows, not 36
    layer = build(GShardRouter(eval_capacity_factor=None), Echo(E))
    layer(x, training=False)
    assert layer.experts.seen[-1].shape == (24, D)


def test_trap_empty_experts():
    """Experts without a token: finite gradients, and zero ones for them."""
    for factor in (1.0, None):
        layer = all_to_expert_0(build(SwitchRouter(capacity_factor=factor)))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(1.0 + tf.abs(normal(1, 11, D)), training=True))
        for gradient in tape.gradient(loss, layer.experts.trainable_weights):
            gradient = tf.convert_to_tensor(gradient).numpy()
            assert np.all(np.isfinite(gradient)) and not np.any(gradient[1:])
            assert np.any(gradient[0])
