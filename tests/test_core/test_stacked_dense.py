"""Regularizers and constraints of stacked weights, against a loop over the experts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, GatedExperts, MLPExperts
from moe_zoo.layers import MMoE, MoE, SingleTask
from moe_zoo.routers import SwitchRouter

E, D, F = 3, 5, 7


class Largest(keras.regularizers.Regularizer):
    """The largest weight of a matrix: no sum over entries, so that a stack is not one matrix."""

    def __call__(self, weight):
        return tf.reduce_max(weight)


class Centered(keras.constraints.Constraint):
    """Matrices of mean zero."""

    def __call__(self, weight):
        return weight - tf.reduce_mean(weight)


REGULARIZERS = {
    "l1": (keras.regularizers.L1(0.3), lambda x: 0.3 * np.abs(x).sum()),
    "l2": ("l2", lambda x: 0.01 * np.square(x).sum()),
    "own": (Largest(), np.max),
}


@pytest.mark.parametrize("kind", REGULARIZERS)
@pytest.mark.parametrize("make", [FeedForwardExperts, GatedExperts, MLPExperts])
def test_a_regularizer_is_summed_over_the_experts(make, kind):
    regularizer, of_one = REGULARIZERS[kind]
    layer = make(
        E,
        (F,) if make is MLPExperts else F,
        use_bias=True,
        bias_initializer="random_normal",
        kernel_regularizer=regularizer,
        bias_regularizer=regularizer,
    )
    layer.build((E, None, D))
    expected = sum(of_one(w) for stack in layer.trainable_weights for w in stack.numpy())
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)


def norm(matrix, axis):
    return np.sqrt(np.square(matrix).sum(axis, keepdims=True))


def clipped(matrix, axis, most=0.5):
    return matrix * np.minimum(norm(matrix, axis), most) / (1e-7 + norm(matrix, axis))


CONSTRAINTS = {
    "max norm of units": (keras.constraints.MaxNorm(0.5), lambda x: clipped(x, 0)),
    "max norm of the last axis": (keras.constraints.MaxNorm(0.5, axis=-1), lambda x: clipped(x, 1)),
    "max norm of matrices": (
        keras.constraints.MaxNorm(0.5, axis=[0, 1]),
        lambda x: clipped(x, (0, 1)),
    ),
    "unit norm": ("unit_norm", lambda x: x / (1e-7 + norm(x, 0))),
    "non-negative": ("non_neg", lambda x: np.maximum(x, 0.0)),
    "own": (Centered(), lambda x: x - x.mean()),
}


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_a_constraint_holds_for_each_expert(kind):
    constraint, of_one = CONSTRAINTS[kind]
    layer = FeedForwardExperts(E, F, kernel_constraint=constraint)
    layer.build((E, None, D))
    for stack in (layer.kernel_in, layer.kernel_out):
        expected = np.stack([of_one(matrix) for matrix in stack.numpy()])
        np.testing.assert_allclose(stack.constraint(stack.value), expected, atol=1e-6)
    assert layer.bias_in.constraint is None


def test_fit_applies_both_and_counts_a_loss_once():
    """One step of gradient descent without a task loss, by hand: w <- clip(w - lr * 2 * l * w)."""
    experts = FeedForwardExperts(
        E,
        F,
        use_bias=False,
        kernel_regularizer=keras.regularizers.L2(0.1),
        kernel_constraint=keras.constraints.MaxNorm(0.4),
    )
    model = keras.Sequential(
        [keras.Input((D,)), MoE(SwitchRouter(balance_loss_weight=0.0), experts)]
    )
    model.compile(keras.optimizers.SGD(0.5), loss=lambda y, p: 0.0 * tf.reduce_mean(p, -1))
    before = [experts.kernel_in.numpy(), experts.kernel_out.numpy()]
    x = np.ones((4, D), "float32")
    loss = model.fit(x, x, verbose=0).history["loss"][0]
    assert loss == pytest.approx(0.1 * sum(np.square(w).sum() for w in before), rel=1e-5)
    for stack, start in zip((experts.kernel_in, experts.kernel_out), before, strict=True):
        moved = start - 0.5 * 2 * 0.1 * start
        np.testing.assert_allclose(stack, clipped(moved, 1, most=0.4), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda **options: MLPExperts(E, (F,), **options),
        lambda **options: FeedForwardExperts(E, F, **options),
        lambda **options: SingleTask((F,), num_tasks=2, **options),
    ],
)
def test_they_are_saved(layer):
    options = {
        "kernel_regularizer": keras.regularizers.L1(0.25),
        "bias_regularizer": "l2",
        "kernel_constraint": keras.constraints.MaxNorm(3.0, axis=[0, 1]),
    }
    original = layer(**options)
    copy = type(original).from_config(original.get_config())
    assert copy.get_config() == original.get_config()
    assert copy.dense.kernel_regularizer.l1 == 0.25
    assert copy.dense.kernel_constraint.axis == [0, 1]
    plain = layer().get_config()
    for name in options:  # as in files of before
        del plain[name]
    assert type(original).from_config(plain).dense.kernel_constraint is None


def test_a_mixture_of_tasks_has_the_loss_of_its_experts_once():
    layer = MMoE(MLPExperts(E, (F,), kernel_regularizer="l2"), num_tasks=2)
    layer(tf.ones([4, D]))
    (kernel,) = [w for w in layer.experts.trainable_weights if "kernel" in w.name]
    expected = 0.01 * np.square(kernel.numpy()).sum()
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)
