"""Blocks and stacks against loops; causality, lengths, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models.transformer import (
    Attention,
    FeedForward,
    GatedFeedForward,
    RelativePositions,
    RotaryPositions,
    TransformerBlock,
    TransformerStack,
)
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SwitchRouter
from moe_zoo.scopes import record_plans
from reference import transformer as reference
from small_transformers import randomize

B, T, L, D, F, E, SIZE = 2, 5, 7, 12, 11, 3, 6
POSITIONS = {"none": None, "relative": RelativePositions(8, 20), "rotary": RotaryPositions(13.0)}
DROPLESS = {"capacity_factor": None, "eval_capacity_factor": None}


def moe(router=None):
    return MoE(router or SwitchRouter(**DROPLESS), FeedForwardExperts(E, F))


def make(position="rotary", kv_heads=2, feed_forward=None, layers=3, seed=1, width=D, **options):
    """A stack whose every weight is random, norms included."""
    stack = TransformerStack(
        Attention(4, SIZE, kv_heads),
        feed_forward or FeedForward(F),
        layers,
        position=POSITIONS[position],
        **{"moe": moe(), **options},
    )
    stack.build((None, None, width), (None, None, width))
    return randomize(stack, seed)


def rows(length=T, seed=2, batch=B):
    return np.random.default_rng(seed).normal(size=(batch, length, D)).astype("float32")


def slow(stack, weights, x, mask=None, memory=None, memory_mask=None):
    options = {"layers": len(stack.blocks), "heads": 4, "kv_heads": 2, "causal": stack.causal}
    options["base"] = getattr(stack.position, "base", None)
    options["max_distance"] = getattr(stack.position, "max_distance", None)
    return reference.stack(weights, x, options, mask, memory, memory_mask)


# === The whole stack ===


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_outputs(position, causal):
    stack = make(position, causal=causal)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    found = stack(rows(), mask=mask)
    expected = slow(stack, reference.weights_of(stack), rows(), mask)
    np.testing.assert_allclose(found[mask], expected[mask], rtol=1e-3, atol=1e-4)


def test_a_decoder_with_a_memory():
    stack = make("relative", causal=True, cross_attention=True, feed_forward=GatedFeedForward(F))
    memory = rows(L, 3)
    memory_mask = np.array([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool)
    found = stack(rows(), memory=memory, memory_mask=memory_mask)
    weights = reference.weights_of(stack)
    expected = slow(stack, weights, rows(), None, memory, memory_mask)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", ["relative", "rotary"])
def test_gradients(position):
    """Of every weight along a random line. Dense: at a change of expert there is no derivative."""
    stack = make(position, causal=True, cross_attention=True, layers=2, moe=None)
    x, memory = rows(3), rows(2, 3)
    upstream = np.random.default_rng(4).normal(size=x.shape)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stack(x, memory=memory) * upstream)
    gradients = tape.gradient(loss, [w.value for w in stack.trainable_weights])
    named = reference.weights_of(stack)
    values = list(named.values())

    def value(arrays):
        weights = dict(zip(named, arrays, strict=True))
        return np.sum(slow(stack, weights, x, memory=memory) * upstream)

    rng = np.random.default_rng(6)
    for i, gradient in enumerate(gradients):
        direction = [np.zeros_like(v) for v in values]
        direction[i] = rng.normal(size=values[i].shape)
        expected = reference.slope(value, values, direction)
        found = np.sum(tf.convert_to_tensor(gradient) * direction[i])
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-3), list(named)[i]


@pytest.mark.parametrize(
    ("every", "sparse"), [(0, []), (1, [0, 1, 2, 3, 4]), (2, [1, 3]), (3, [1, 4]), (5, [1])]
)
def test_which_blocks_are_sparse(every, sparse):
    """The published rule: block b if b mod every is 1, or every block if `every` is 1."""
    stack = make(layers=5, moe_every=every)
    assert [i for i, b in enumerate(stack.blocks) if isinstance(b.feed_forward, MoE)] == sparse
    for i in sparse:
        paths = [w.path for w in stack.blocks[i].trainable_weights]
        assert any("moe" in path for path in paths)


def test_every_block_starts_with_other_weights():
    seeded = keras.initializers.GlorotUniform(seed=3)
    stack = TransformerStack(
        Attention(4, kernel_initializer=seeded),
        FeedForward(F, kernel_initializer=seeded),
        4,
        MoE(SwitchRouter(seed=1), FeedForwardExperts(E, F, kernel_initializer=seeded)),
        cross_attention=True,
    )
    stack.build((None, None, D))
    kernels = [w.numpy() for w in stack.trainable_weights if "kernel" in w.path]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


# === Nobody sees the future ===


def switch(**options):
    return MoE(SwitchRouter(jitter=0.0, min_capacity=1, **options), FeedForwardExperts(E, F))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("capacity", [None, 1.0])
def test_later_tokens_change_nothing(position, capacity):
    """Slots go by arrival: a later token of the row takes none of an earlier one."""
    mixture = switch(capacity_factor=capacity, eval_capacity_factor=capacity)
    stack = make(position, causal=True, moe=mixture, moe_every=1)
    x = rows(batch=1)
    with record_plans() as plans:
        expected = stack(x)
    if capacity:  # else it would show nothing
        assert any(np.any(~plan.kept) for plan in plans.values())
    for t in range(1, T):
        changed = x.copy()
        changed[:, t:] = rows(seed=7, batch=1)[:, t:]
        found = stack(changed)
        np.testing.assert_allclose(found[:, :t], expected[:, :t], rtol=1e-5, atol=1e-6)
        assert np.any(np.abs(found[:, t] - expected[:, t]) > 1e-3)


@pytest.mark.parametrize("position", POSITIONS)
def test_no_gradient_from_earlier_outputs_to_later_inputs(position):
    stack = make(position, causal=True, moe_every=1)
    x = tf.constant(rows())
    for t in range(T - 1):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(stack(x)[:, t])
        gradient = tape.gradient(loss, x).numpy()
        np.testing.assert_array_equal(gradient[:, t + 1 :], 0.0)
        assert np.all(np.abs(gradient[:, : t + 1]).sum(-1) > 0)


def test_an_encoder_sees_everything():
    stack = make("relative")
    x = tf.constant(rows())
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(stack(x)[:, 0])
    assert np.all(np.abs(tape.gradient(loss, x)).sum(-1) > 0)


@keras.saving.register_keras_serializable(package="tests")
class LookingAhead(SwitchRouter):
    looks_ahead = True


def test_a_router_that_looks_ahead_is_refused():
    message = r"without the later ones\. Received: LookingAhead, which looks ahead, in a causal"
    with pytest.raises(ValueError, match=message):
        make(causal=True, moe=moe(LookingAhead()))
    make(causal=False, moe=moe(LookingAhead()))


def test_batch_priority_in_a_causal_stack():
    router = SwitchRouter(batch_priority=True)
    with pytest.warns(UserWarning, match=r"order of arrival.*Received: batch_priority=True"):
        make(causal=True, moe=moe(router))
    make(causal=False, moe=moe(router))


# === Padding ===


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("router", [SwitchRouter, GShardRouter, NoisyTopKRouter])
def test_what_padding_is_changes_nothing(position, router):
    stack = make(position, moe=MoE(router(), FeedForwardExperts(E, F)), layers=2)
    mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]], bool)
    x, other = rows(), rows(seed=8)
    other = np.where(mask[..., None], x, other)
    found = (stack(values, mask=mask) for values in (x, other))
    np.testing.assert_allclose(*(values[mask] for values in found), rtol=1e-5, atol=1e-6)
    padded = np.concatenate([x, rows(3, seed=9)], 1)
    longer = np.concatenate([mask, np.zeros((B, 3), bool)], 1)
    found = stack(padded, mask=longer)[:, :T]
    np.testing.assert_allclose(found[mask], stack(x, mask=mask)[mask], rtol=1e-5, atol=1e-6)


# === Generation ===


@pytest.mark.parametrize("position", POSITIONS)
def test_one_token_after_another(position):
    stack = make(position, causal=True, cross_attention=True, moe_every=1)
    memory, mask = rows(L, 3), np.array([[1] * L, [1] * 4 + [0] * 3], bool)
    expected = stack(rows(), memory=memory, memory_mask=mask)
    cache = stack.initial_cache(B, T + 2, memory, mask)
    shapes = {tensor.shape[0] for tensor in tf.nest.flatten(cache)}
    assert shapes == {B}
    for t in range(T):
        found, cache = stack.step(rows()[:, t], cache, t)
        np.testing.assert_allclose(found, expected[:, t], rtol=1e-4, atol=1e-5)


def test_rows_of_a_cache_can_be_gathered():
    """As beams are: row 1 goes on from what row 0 was fed."""
    stack, x = make(causal=True), rows()
    cache = stack.initial_cache(B, 3)
    for t in range(2):
        _, cache = stack.step(x[:, t], cache, t)
    cache = tf.nest.map_structure(lambda tensor: tf.gather(tensor, [0, 0]), cache)
    found, _ = stack.step(tf.repeat(x[:1, 2], 2, 0), cache, 2)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[0], stack(x[:1])[0, 2], rtol=1e-4, atol=1e-5)


# === Lengths ===


def test_rows_that_are_too_long():
    stack = make(max_length=T)
    stack(rows(T))
    message = r"at most max_length=5 tokens\. Received: rows of 7\. Shorten"
    with pytest.raises(ValueError, match=message):
        stack(rows(7))
    with pytest.raises(ValueError, match=message):
        make(causal=True, max_length=T).initial_cache(B, 7)
    other = TransformerStack(Attention(2), FeedForward(F), 1, max_length=T)
    with pytest.raises(ValueError, match=message):
        other(keras.Input((7, D)))


def test_rows_that_turn_out_to_be_too_long():
    stack = make(max_length=T)
    run = tf.function(stack, input_signature=[tf.TensorSpec([None, None, D])])
    run(rows(T))
    message = r"(?s)max_length=5 tokens\. Received: rows of.*7.*Shorten the rows"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(rows(7))


def test_no_rows():
    assert make()(tf.zeros([0, T, D])).shape == (0, T, D)


# === Configuration ===


def test_config_of_a_stack():
    stack = make(
        "relative", causal=True, cross_attention=True, max_length=T, dropout=0.25, layers=2
    )
    config = keras.saving.serialize_keras_object(stack)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == stack.get_config()
    again.set_weights(stack.get_weights())
    memory = rows(L, 3)
    np.testing.assert_array_equal(again(rows(), memory=memory), stack(rows(), memory=memory))


def test_config_of_a_block():
    block = TransformerBlock(
        Attention(2), moe(), Attention(3), keras.layers.LayerNormalization(), dropout=0.25
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert again.get_config() == block.get_config()
    assert type(again.attention_norm) is type(again.feed_forward_norm)
    assert isinstance(again.cross_attention_norm, keras.layers.LayerNormalization)
    assert again(rows(), rows(L, 3)).shape == (B, T, D)


def test_a_stack_in_a_users_own_model(tmp_path):
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(23, D, mask_zero=True)(tokens)
    x = TransformerStack(Attention(2), FeedForward(F), 2, moe(), dropout=0.25)(x)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    found = [model(np.array([row])) for row in ([4, 7, 2], [4, 7, 2, 0, 0])]
    np.testing.assert_allclose(*found, rtol=1e-5)  # the mask goes in and through
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(np.array([[4, 7, 2, 0]])), model(np.array([[4, 7, 2, 0]])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, r"Received: num_layers=0\."),
        ({"moe_every": -1}, r"Received: moe_every=-1\."),
        ({"max_length": 0}, r"Received: max_length=0\."),
        ({"dropout": 1}, r"Received: dropout=1\."),
    ],
)
def test_sizes_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@keras.saving.register_keras_serializable("tests")
class Wrapper(keras.layers.Layer):
    """A user's layer around a mixture: it takes the mask, and rows of tokens only."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.inner = moe()

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, x, mask=None, training=None):
        assert len(x.shape) == 3
        return self.inner(x, mask=mask, training=training)


def test_a_mixture_of_the_users_own_gets_the_mask_and_whole_rows():
    stack, x = make(moe=Wrapper(), moe_every=1, causal=True), rows()
    mask = np.arange(T) < np.array([[T], [2]])
    with record_plans() as plans:
        expected = stack(x, mask=tf.constant(mask))
    assert len(plans) == 3
    for plan in plans.values():
        np.testing.assert_array_equal(plan.token_mask()[0], mask.reshape(-1))
    cache = stack.initial_cache(B, T)
    for t in range(T):
        found, cache = stack.step(x[:, t], cache, t, mask=tf.constant(mask[:, t]))
        np.testing.assert_allclose(found, expected[:, t], rtol=1e-4, atol=1e-5)


def test_a_router_that_looks_ahead_is_refused_as_a_dense_layer_too():
    class Ahead(SwitchRouter):
        looks_ahead = True

    with pytest.raises(ValueError, match="Received: Ahead, which looks ahead"):
        make(feed_forward=moe(Ahead()), causal=True)
