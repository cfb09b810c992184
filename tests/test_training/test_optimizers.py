import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts, GatedExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SwitchRouter
from moe_zoo.training.optim.optimizers import FactoredAdam

EXPERTS, ROWS, COLUMNS = 3, 5, 7


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@keras.saving.register_keras_serializable("moe_zoo_tests")
class Stack(keras.layers.Layer):
    """Experts without a router: each multiplies the input by its own kernel and adds its bias."""

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(EXPERTS, shape[-1], COLUMNS))
        self.bias = self.add_weight(name="bias", shape=(EXPERTS, COLUMNS))

    def call(self, inputs):
        outputs = keras.ops.einsum("br,erc->bec", inputs, self.kernel) + self.bias
        return keras.ops.mean(outputs, axis=1)


def build_model():
    inputs = keras.Input([ROWS])
    return keras.Model(inputs, keras.layers.Dense(1)(Stack(name="experts")(inputs)))


def data(rng, size=16):
    return rng.normal(size=(size, ROWS)).astype("float32"), rng.normal(size=(size, 1))


def factored_adam(weights, gradients, rate, beta_2, epsilon):
    """Appendix D for one matrix, number by number in float64."""
    weights = np.array(weights, np.float64)
    r, c = np.zeros(len(weights)), np.zeros(len(weights[0]))
    for t, g in enumerate(gradients, 1):
        for i in range(len(r)):
            r[i] = beta_2 * r[i] + (1 - beta_2) * sum(x * x for x in g[i]) / len(c)
        for j in range(len(c)):
            c[j] = beta_2 * c[j] + (1 - beta_2) * sum(row[j] ** 2 for row in g) / len(r)
        for i in range(len(r)):
            for j in range(len(c)):
                if g[i][j]:
                    v = r[i] * c[j] / (sum(r) / len(r))
                    corrected = v / (1 - beta_2**t)  # as in Adam: the averages start at zero
                    scaled_epsilon = epsilon / np.sqrt(1 - beta_2**t)
                    weights[i, j] -= rate * g[i][j] / (np.sqrt(corrected) + scaled_epsilon)
    return weights


def test_equals_the_slow_reference_for_each_expert(rng):
    weights = rng.normal(size=(EXPERTS, ROWS, COLUMNS)).astype("float32")
    gradients = rng.normal(size=(6, EXPERTS, ROWS, COLUMNS)).astype("float32")
    gradients[:, 1] *= np.geomspace(1e-4, 1, ROWS)[:, np.newaxis]  # rows of unlike scales
    variable = keras.Variable(weights, name="experts_kernel")
    optimizer = FactoredAdam(0.1, beta_2=0.9, epsilon=1e-3)
    for gradient in gradients:
        optimizer.apply([keras.ops.array(gradient)], [variable])
    expected = [factored_adam(weights[e], gradients[:, e], 0.1, 0.9, 1e-3) for e in range(EXPERTS)]
    np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_equals_adam_without_momentum_where_the_moment_has_rank_one(rng):
    """Gradients that change by one factor a step keep the average of g^2 an outer product."""
    gradient = np.outer(rng.normal(size=ROWS), rng.normal(size=COLUMNS)).astype("float32")
    start = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    results = []
    for optimizer in (FactoredAdam(0.01, factored="w"), keras.optimizers.Adam(0.01, beta_1=0.0)):
        variable = keras.Variable(start, name="w")
        for factor in (1.0, -0.5, 3.0):
            optimizer.apply([keras.ops.array(factor * gradient)], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


def test_an_expert_without_a_token_stays_as_it_is(rng):
    start = rng.normal(size=(2, ROWS, COLUMNS)).astype("float32")
    variable = keras.Variable(start, name="experts_kernel")
    gradient = np.stack([np.ones((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))]).astype("float32")
    optimizer = FactoredAdam(0.1)
    for _ in range(2):
        optimizer.apply([keras.ops.array(gradient)], [variable])
    assert np.array_equal(variable.numpy()[1], start[1])
    assert np.all(variable.numpy()[0] < start[0])


def test_is_adam_when_nothing_matches(rng):
    x, y = data(rng)
    results = []
    for make in (
        lambda: FactoredAdam(0.01, factored="nowhere"),
        lambda: keras.optimizers.Adam(0.01),
    ):
        keras.utils.set_random_seed(1)
        model = build_model()
        model.compile(make(), "mse", jit_compile=False)
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for ours, theirs in zip(*results, strict=True):
        assert np.array_equal(ours, theirs)


def test_is_adam_for_the_rows_of_an_embedding(rng):
    """Gradients of embeddings are sparse (tf.IndexedSlices)."""
    ids, y = rng.integers(0, 11, size=(16, 2)), rng.normal(size=(16, 1))
    results = []
    for optimizer in (FactoredAdam(0.01), keras.optimizers.Adam(0.01)):
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Embedding(11, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile(optimizer, "mse", jit_compile=False)
        model.fit(ids, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for ours, theirs in zip(*results, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_sparse_gradient_can_be_factored(rng):
    start = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    rows = rng.normal(size=(2, COLUMNS)).astype("float32")
    dense = np.zeros((ROWS, COLUMNS), np.float32)
    dense[[3, 1]] = rows
    results = []
    for gradient in (tf.IndexedSlices(rows, [3, 1], [ROWS, COLUMNS]), tf.constant(dense)):
        variable = keras.Variable(start, name="w")
        FactoredAdam(0.1, factored="w").apply([gradient], [variable])
        results.append(variable.numpy())
    assert np.array_equal(*results)


def test_memory_of_the_slots():
    model = build_model()
    optimizer = FactoredAdam()
    optimizer.build(model.trainable_variables)
    sizes = {v.name: int(np.prod(v.shape)) for v in optimizer.variables}
    assert sizes.pop("iteration") == sizes.pop("learning_rate") == 1
    assert sizes == {
        "experts_kernel_row_velocity": EXPERTS * ROWS,
        "experts_kernel_column_velocity": EXPERTS * COLUMNS,
        "experts_bias_momentum": EXPERTS * COLUMNS,
        "experts_bias_velocity": EXPERTS * COLUMNS,
        "dense_kernel_momentum": COLUMNS,
        "dense_kernel_velocity": COLUMNS,
        "dense_bias_momentum": 1,
        "dense_bias_velocity": 1,
    }


def test_the_default_finds_the_kernels_of_a_moe_layer():
    for experts in (FeedForwardExperts(EXPERTS, 5), GatedExperts(EXPERTS, 5)):
        layer = MoE(router=SwitchRouter(), experts=experts)
        layer(keras.ops.ones([2, 7]))
        optimizer = FactoredAdam()
        optimizer.build(layer.trainable_variables)
        factored = [v.path for v in layer.trainable_variables if len(v.shape) == 3]
        rows = [v.name for v in optimizer.variables if v.name.endswith("row_velocity")]
        assert rows == [f"{path.replace('/', '_')}_row_velocity" for path in factored]
        assert len(rows) in (2, 3)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_trains_under_each_precision(rng, policy, jit_compile):
    keras.config.set_dtype_policy(policy)
    model = build_model()
    model.compile(FactoredAdam(0.01, global_clipnorm=1.0), "mse", jit_compile=jit_compile)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        policy == "mixed_float16"
    )
    x, _ = data(rng, 64)
    y = x[:, :1] - x[:, 1:2]
    losses = model.fit(x, y, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras with NumPy 2
def test_a_saved_model_goes_on_as_if_never_stopped(rng, tmp_path):
    x, y = data(rng)
    model = build_model()
    model.compile(FactoredAdam(0.01, beta_2=0.9, factored="experts/kernel"), "mse")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.optimizer.get_config() == model.optimizer.get_config()
    assert copy.optimizer.factored == "experts/kernel"
    for each in (model, copy):
        each.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), copy.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("factored", ["experts(", None])
def test_a_wrong_expression_is_named(factored):
    with pytest.raises(ValueError, match="Expected a regular expression") as error:
        FactoredAdam(factored=factored)
    assert f"factored={factored!r}" in str(error.value)


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="amsgrad"):
        FactoredAdam(amsgrad=True)
