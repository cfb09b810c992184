"""LazyAdam against a slow reference, and against Keras' Adam where both are the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.distribution import ExpertParallel
from moe_zoo.models.recommender.features.row_embedding import RowEmbedding
from moe_zoo.training.optim.lazy_adam import LazyAdam

ROWS, DIM = 11, 3
RATE, BETAS, EPSILON = 0.05, (0.8, 0.9), 1e-5
BATCHES = [([4, 2, 4], 0), ([2, 2, 7], 1), ([4, 1, 0], 2)]  # rows of a batch, and a seed


def lazy_adam(weights, batches, limit=np.inf):
    """Weights and both moments after some steps, row by row in float64.

    Args:
        weights: `[ROWS, DIM]`.
        batches: pairs of rows and their gradients.
        limit: the largest norm of a step's gradient, rows summed.
    """
    w = np.array(weights, "float64")
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (rows, gradients) in enumerate(batches, 1):
        summed = {row: np.zeros(DIM) for row in rows}
        for row, gradient in zip(rows, gradients, strict=True):
            summed[row] += gradient
        norm = np.sqrt(sum((g**2).sum() for g in summed.values()))
        for row, g in summed.items():
            g = g * min(1.0, limit / norm)
            m[row] = BETAS[0] * m[row] + (1 - BETAS[0]) * g
            v[row] = BETAS[1] * v[row] + (1 - BETAS[1]) * g**2
            rate = RATE * np.sqrt(1 - BETAS[1] ** t) / (1 - BETAS[0] ** t)
            w[row] -= rate * m[row] / (np.sqrt(v[row]) + EPSILON)
    return w, m, v


@pytest.fixture
def batches():
    return [(rows, np.random.default_rng(i).normal(size=(3, DIM))) for rows, i in BATCHES]


def make(**options):
    return LazyAdam(RATE, *BETAS, EPSILON, **options)


def steps(optimizer, batches, jit=False):
    """The variable and both moments after the optimizer's steps."""
    start = np.random.default_rng(5).normal(size=(ROWS, DIM)).astype("float32")
    variable = keras.Variable(start)
    optimizer.build([variable])

    @tf.function(jit_compile=jit)
    def step(rows, gradients):
        shape = tf.constant([ROWS, DIM])
        optimizer.apply([tf.IndexedSlices(gradients, rows, shape)], [variable])

    for rows, gradients in batches:
        step(tf.constant(rows), tf.constant(gradients, tf.float32))
    return start, [variable.numpy(), *(x.numpy() for x in optimizer.variables[2:])]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("limit", [None, 0.7])
def test_equals_the_slow_reference(batches, jit, limit):
    start, found = steps(make(global_clipnorm=limit), batches, jit)
    for mine, theirs in zip(lazy_adam(start, batches, limit or np.inf), found, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)
    untouched = [row for row in range(ROWS) if row not in {0, 1, 2, 4, 7}]
    np.testing.assert_array_equal(found[0][untouched], start[untouched])  # to the last bit
    assert not found[1][untouched].any() and not found[2][untouched].any()


@pytest.mark.parametrize("options", [{"clipnorm": 0.7}, {"clipvalue": 0.3}])
def test_clips_the_sum_of_a_row(batches, options):
    """As Keras' Adam clips the same gradient when it is dense; one step, all rows touched."""
    rows = [*range(ROWS), 4, 4]
    gradients = np.random.default_rng(3).normal(size=(len(rows), DIM)).astype("float32")
    start, (mine, *_) = steps(make(**options), [(rows, gradients)])
    dense = np.zeros((ROWS, DIM), "float32")
    np.add.at(dense, rows, gradients)
    variable = keras.Variable(start)
    keras.optimizers.Adam(RATE, *BETAS, EPSILON, **options).apply([tf.constant(dense)], [variable])
    np.testing.assert_allclose(mine, variable.numpy(), rtol=1e-5)


def model(optimizer, embedding=RowEmbedding):
    keras.utils.set_random_seed(0)
    inputs = keras.Input([], dtype="int32")
    outputs = keras.layers.Dense(1)(embedding(ROWS, DIM)(inputs))
    made = keras.Model(inputs, outputs)
    made.compile(optimizer, loss="mse", jit_compile=False)
    return made


def test_dense_weights_are_those_of_adam_and_a_run_goes_on_after_loading(tmp_path):
    x, y = np.arange(ROWS), np.sin(np.arange(ROWS))[:, None]
    lazy, adam = model(make()), model(keras.optimizers.Adam(RATE, *BETAS, EPSILON))
    for each in (lazy, adam):
        each.fit(x, y, batch_size=ROWS, epochs=2, verbose=0)
    for mine, theirs in zip(lazy.get_weights(), adam.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)  # every batch has every row once
    lazy.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == lazy.optimizer.get_config()
    for each in (lazy, loaded):
        each.fit(x[:5], y[:5], batch_size=5, shuffle=False, verbose=0)
    for mine, theirs in zip(lazy.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_dense_gradients_are_adam_s_to_the_last_bit():
    gradients = np.random.default_rng(0).normal(size=(4, ROWS, DIM)).astype("float32")
    found = []
    for optimizer in (make(), keras.optimizers.Adam(RATE, *BETAS, EPSILON)):
        variable = keras.Variable(np.ones((ROWS, DIM), "float32"))
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)], [variable])
        found.append(variable.numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "options",
    [
        {"amsgrad": True},
        {"weight_decay": 0.01},
        {"use_ema": True},
        {"gradient_accumulation_steps": 2},
        {"loss_scale_factor": 8.0},
    ],
)
def test_what_is_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"rows of a batch. Received: {name}={value}. Leave it"):
        make(**options)


def test_a_mesh_is_refused():
    from mesh_models import task_model
    from moe_zoo.experts import MLPExperts
    from moe_zoo.layers import MMoE

    made = task_model(MMoE(MLPExperts(2, (3,)), num_tasks=2))
    made.compile(make(), loss="mse")
    with pytest.raises(ValueError, match="dense gradients.*Received: optimizer=lazy_adam"):
        ExpertParallel("expert=2").distribute(made)
