"""The Transformer models: what they compute, generate, see, and take for padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models.transformer import RelativePositions
from moe_zoo.routers import GShardRouter, SwitchRouter
from moe_zoo.scopes import record_plans
from reference import transformer as reference
from small_transformers import (
    DROPLESS,
    KINDS,
    POSITIONS,
    B,
    D,
    E,
    S,
    T,
    V,
    cross_entropy,
    inputs,
    labels,
    make,
    mixture,
    one_by_one,
    tokens,
)

GENERATING = ["language_model", "seq2seq"]
ROUTERS = {
    "capacity": {},
    "dropless": {"moe": mixture(SwitchRouter(**DROPLESS))},
    "rows": {"moe": mixture(group_by_row=True)},
    "dense": {"moe": None},
}


# === What they compute ===


def embedded(model, ids, table="embedding"):
    return np.asarray(getattr(model, table).embeddings, np.float64)[ids]


def slow_stack(stack, x, **given):
    options = {"layers": len(stack.blocks), "heads": 2, "causal": stack.causal}
    options["base"] = getattr(stack.position, "base", None)
    options["max_distance"] = getattr(stack.position, "max_distance", None)
    return reference.stack(reference.weights_of(stack), x, options, **given)


@pytest.mark.parametrize("tied", [True, False])
def test_language_model(tied):
    model, ids = make(tie_head=tied), tokens()
    states = slow_stack(model.decoder, embedded(model, ids))
    table = np.asarray(model.embedding.embeddings, np.float64)
    expected = states / np.sqrt(D) @ table.T if tied else states @ float64(model.head.kernel)
    np.testing.assert_allclose(model(ids), expected, rtol=1e-3, atol=1e-3)
    assert (model.head is None) == tied


def test_classifier():
    model, ids = make("classifier", position=POSITIONS["relative"]), tokens()
    ids[0, 3:] = 0
    real = ids != 0
    states = slow_stack(model.encoder, embedded(model, ids), mask=real)
    means = np.stack([row[kept].mean(0) for row, kept in zip(states, real, strict=True)])
    expected = means @ float64(model.head.kernel) + float64(model.head.bias)
    np.testing.assert_allclose(model(ids), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_seq2seq(shared):
    model = make("seq2seq", share_embeddings=shared, position=POSITIONS["relative"])
    given = inputs("seq2seq")
    given["source"][0, 4:] = 0
    given["target"][:, 0] = 0  # T5's begin token, which is real
    real = given["source"] != 0
    memory = slow_stack(model.encoder, embedded(model, given["source"]), mask=real)
    x = embedded(model, given["target"], "decoder_embedding")
    states = slow_stack(model.decoder, x, memory=memory, memory_mask=real)
    table = np.asarray(model.decoder_embedding.embeddings, np.float64)
    expected = states / np.sqrt(D) @ table.T
    np.testing.assert_allclose(model(given), expected, rtol=1e-3, atol=1e-3)
    assert (model.decoder_embedding is model.embedding) == shared


def float64(variable):
    return np.asarray(variable, np.float64)


# === Generation ===


@pytest.mark.parametrize("kind", GENERATING)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("router", ROUTERS)
def test_steps_give_the_logits_of_the_whole(kind, position, router):
    model = make(kind, kv_heads=1, position=POSITIONS[position], **ROUTERS[router])
    given = inputs(kind)
    np.testing.assert_allclose(one_by_one(model, kind, given), model(given), rtol=1e-3, atol=1e-4)


def test_steps_with_padding_in_the_source_and_a_begin_token():
    model, given = make("seq2seq", tie_head=False), inputs("seq2seq")
    given["source"][0, 4:] = 0
    given["target"][:, 0] = 0
    found = one_by_one(model, "seq2seq", given, length=T + 4)  # longer than what is fed
    np.testing.assert_allclose(found, model(given), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", GENERATING)
def test_steps_in_one_graph(kind):
    """Batch, lengths and places unknown, as in a SavedModel."""
    model, given = make(kind), inputs(kind)
    many = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[many, many])
    def run(source, target):
        length = tf.shape(target)[1]
        first = source if kind == "seq2seq" else tf.shape(target)[0]
        states = model.initial_states(first, length)
        shapes = {tensor.shape[0] for tensor in tf.nest.flatten(states)}
        assert shapes == {None}
        logits = tf.TensorArray(tf.float32, length)
        for t in tf.range(length):
            found, states = model.step(target[:, t], states, t)
            logits = logits.write(t, found)
        return tf.transpose(logits.stack(), [1, 0, 2])

    source, target = tokens(S), given["target"] if kind == "seq2seq" else given
    whole = {"source": source, "target": target} if kind == "seq2seq" else target
    np.testing.assert_allclose(run(source, target), model(whole), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_steps_in_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = make(moe=mixture(), random=False)
    logits, _ = model.step(tokens()[:, 0], model.initial_states(B, T), 0)
    assert logits.dtype == tf.float32
    expected = tf.cast(model(tokens()[:, :1])[:, 0], tf.float32)
    np.testing.assert_allclose(logits, expected, rtol=0.1, atol=0.1)


# === Nobody sees the future ===


@pytest.mark.parametrize("kind", GENERATING)
def test_later_tokens_change_no_earlier_logits(kind):
    router = SwitchRouter(jitter=0.0, capacity_factor=1.0, eval_capacity_factor=1.0, min_capacity=1)
    model = make(kind, moe=mixture(router, group_by_row=True))
    given = inputs(kind)
    expected = model(given).numpy()
    for t in range(1, T):
        changed = dict(given) if kind == "seq2seq" else given.copy()
        target = changed["target"].copy() if kind == "seq2seq" else changed
        target[:, t:] = tokens(T, 9)[:, t:]
        if kind == "seq2seq":
            changed["target"] = target
        np.testing.assert_allclose(model(changed)[:, :t], expected[:, :t], rtol=1e-4, atol=1e-5)


def test_every_source_token_reaches_every_logit():
    model, given = make("seq2seq", position=RelativePositions()), inputs("seq2seq")
    x = tf.Variable(model.embedding(given["source"]))
    with tf.GradientTape() as tape:
        memory = model.encoder(x)
        y = model.decoder(model.embedding(given["target"]), memory=memory)
        loss = tf.reduce_sum(y[:, 0] ** 2)
    assert np.all(np.abs(tape.gradient(loss, x)).sum(-1) > 0)


# === Padding ===


def padded(given, count):
    return np.pad(given, [[0, 0], [0, count]])


@pytest.mark.parametrize(
    "router", [SwitchRouter(jitter=0.0), GShardRouter(second_expert_policy="all")]
)
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind, position, router):
    """Neither how much there is nor the weights that stand for it; the losses of routing too."""
    model = make(kind, moe=mixture(router), position=POSITIONS[position])
    if kind == "seq2seq":
        given = {name: padded(ids, 1) for name, ids in inputs(kind).items()}
        given["source"][0, 4:] = given["target"][0, 3:] = 0
        more = {"source": padded(given["source"], 3), "target": padded(given["target"], 2)}
        real = given["target"] != 0
    else:
        given = padded(tokens(), 1)
        given[0, 3:] = 0
        more, real = padded(given, 3), given != 0
    expected, losses = observed(model, given)
    found, more_losses = observed(model, more)
    np.testing.assert_allclose(more_losses, losses, rtol=1e-5)
    if kind == "classifier":
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        table = model.embedding.embeddings.numpy()
        table[0] = 7.0
        model.embedding.embeddings.assign(table)
        np.testing.assert_allclose(observed(model, given)[0], expected, rtol=1e-3, atol=1e-5)
    else:
        found = found[:, : expected.shape[1]]
        np.testing.assert_allclose(found[real], expected[real], rtol=1e-3, atol=1e-5)


def observed(model, given):
    """Logits and the sum of the losses of routing, as in training; nothing random is in it."""
    keras.utils.set_random_seed(0)
    logits = model(given, training=False).numpy()
    model(given, training=True)
    return logits, float(sum(model.losses))


def test_a_text_without_tokens_is_classified_by_the_bias():
    model = make("classifier")
    found = model(np.zeros((B, T), "int32"))
    np.testing.assert_allclose(found, np.tile(model.head.bias, (B, 1)), rtol=1e-6)


def test_a_loss_with_weights_does_not_see_padding():
    model = make(random=False)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile("sgd", loss)
    ids, nexts = tokens(), tokens(T, 4)
    real = np.ones((B, T))
    real[0, 3:] = ids[0, 3:] = 0
    values = [
        model.evaluate(padded(ids, n), padded(nexts, n), sample_weight=padded(real, n), verbose=0)
        for n in (0, 3)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


# === Gradients ===


@pytest.mark.parametrize("kind", KINDS)
def test_experts_with_tokens_get_gradients_and_the_others_none(kind):
    model, given = make(kind, moe_every=1), inputs(kind)
    with record_plans() as plans, tf.GradientTape() as tape:
        logits = model(given)
        loss = cross_entropy()(labels(kind), logits)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    seen = set()
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        size = np.abs(tf.convert_to_tensor(gradient)).reshape(weight.shape[0], -1).sum(-1)
        if "feed_forward_experts" not in weight.path:
            assert size.sum() > 0, weight.path
            continue
        plan = plans[weight.path.rsplit("/", 2)[0]]
        used = np.isin(np.arange(E), plan.experts.numpy()[plan.kept])
        if weight.path.endswith("out"):  # an expert's hidden layer may be dead: all ReLUs at 0
            np.testing.assert_array_equal(size > 0, used, err_msg=weight.path)
        assert np.all(size[~used] == 0)
        seen |= set(used.tolist())
    assert True in seen


# === Unknown sizes ===


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_batch_and_length_and_no_rows(kind):
    model, given = make(kind), inputs(kind)
    spec = tf.TensorSpec([None, None], tf.int32)
    spec = {"source": spec, "target": spec} if kind == "seq2seq" else spec
    run = tf.function(model, input_signature=[spec])
    given = keras.tree.map_structure(tf.constant, given)
    np.testing.assert_allclose(run(given), model(given), rtol=1e-4, atol=1e-5)
    none = keras.tree.map_structure(lambda ids: ids[:0], given)
    assert model(none).shape[0] == run(none).shape[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_too_long(kind):
    model = make(kind, max_length=T + 1, random=False)
    given = inputs(kind)
    if kind == "seq2seq":
        given["source"] = given["source"][:, : T + 1]
    model(given)
    message = rf"max_length={T + 1} tokens\. Received: rows of {T + 3}\. Shorten"
    too_long = keras.tree.map_structure(lambda ids: padded(ids, 3)[:, : T + 3], given)
    with pytest.raises(ValueError, match=message):
        model(too_long)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "language_model", "pad_id": 0, "dropout": 2.0}, r"Received: dropout=2\.0"),
        ({"kind": "classifier", "moe_every": -1}, r"Received: moe_every=-1"),
        ({"kind": "seq2seq", "num_decoder_layers": 0}, r"Received: num_decoder_layers=0"),
        ({"kind": "seq2seq", "max_length": 0}, r"Received: max_length=0"),
    ],
)
def test_sizes_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("kind", GENERATING)
def test_batch_priority_is_warned_of(kind):
    with pytest.warns(UserWarning, match="Received: batch_priority=True"):
        make(kind, moe=mixture(SwitchRouter(batch_priority=True)), random=False)


def test_logits_over_the_vocabulary():
    assert make()(tokens()).shape == (B, T, V)


@pytest.mark.parametrize("seed", [None, 3])
def test_two_embeddings_start_differently(seed):
    draw = keras.initializers.RandomNormal(seed=seed)
    model = make("seq2seq", random=False, share_embeddings=False, embeddings_initializer=draw)
    assert np.any(model.embedding.embeddings != model.decoder_embedding.embeddings)
