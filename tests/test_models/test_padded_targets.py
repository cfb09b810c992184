"""Compiled losses and metrics of language models: a row counts as much however it is padded."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models import LSTMLanguageModel
from moe_zoo.models.text.padded_targets import real_targets
from moe_zoo.training.optim.losses import Perplexity, SmoothedCrossEntropy
from small_transformers import D, V, make, tokens

# Places of rows of 4, 3 and 2 tokens among 7.
PLACES = [[0, 1, 2, 3], [4, 5, 6], [1, 5]]
LENGTHS = [len(places) for places in PLACES]


def build(kind, loss, **options):
    keras.utils.set_random_seed(2)
    if kind == "lstm":
        model = LSTMLanguageModel(V, D, [], dropout=0.0, pad_id=0)
    else:
        begin = {"begins_with_padding": False} if kind == "seq2seq" else {}
        model = make(kind, moe=None, layers=1, **begin)
    metrics = {"metrics": [Perplexity()], "weighted_metrics": [Perplexity(name="weighted")]}
    model.compile(keras.optimizers.SGD(0.1), loss, **metrics, run_eagerly=True)
    return model


def rows(places):
    """Inputs and targets of three rows that stand at these places of 7."""
    ids, padded = tokens(4, batch=3), np.zeros((3, 7), "int32")
    for row, short, where in zip(padded, ids, places, strict=True):
        row[where] = short[: len(where)]
    return padded[:, :-1], padded[:, 1:]


def given(kind, inputs):
    return {"source": tokens(5, batch=3), "target": inputs} if kind == "seq2seq" else inputs


def cross_entropy(model, kind, inputs, targets):
    """Of each target, and whether it and its row's first token stand where they should."""
    scores = tf.math.log_softmax(model(given(kind, inputs))).numpy()
    values = -np.take_along_axis(scores, targets[..., None], -1)[..., 0]
    begun = np.cumsum(inputs != 0, 1) > 0
    return values, (targets != 0) & begun


LOSSES = {
    "plain": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "by weight": SmoothedCrossEntropy(0.1),
}


@pytest.mark.parametrize("loss", ["plain", "by weight"])
@pytest.mark.parametrize("kind", ["language_model", "seq2seq", "lstm"])
def test_a_step_does_not_depend_on_where_padding_stands(kind, loss):
    """Losses, metrics and the weights afterwards, of rows at the left and anywhere."""
    found = []
    for places in ([list(range(n)) for n in LENGTHS], PLACES):
        model, (inputs, targets) = build(kind, LOSSES[loss]), rows(places)
        values, real = cross_entropy(model, kind, inputs, targets)
        assert real.sum() == sum(LENGTHS) - 3  # all but the first of each row
        logs = model.train_on_batch(given(kind, inputs), targets, return_dict=True)
        mean = values[real].mean()
        if loss == "plain":
            assert logs["loss"] == pytest.approx(mean, rel=1e-4)
        for name in ("perplexity", "weighted"):
            assert logs[name] == pytest.approx(np.exp(mean), rel=1e-4)
        found.append([logs["loss"], *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_weights():
    """Those of rows weigh what counts; those of tokens decide alone, padding among it."""
    model, (inputs, targets) = build("language_model", LOSSES["plain"]), rows(PLACES)
    values, real = cross_entropy(model, "language_model", inputs, targets)
    of_rows = np.array([2.0, 0.0, 3.0], "float32")
    expected = (values * real * of_rows[:, None]).sum() / real.sum()
    found = model.test_on_batch(inputs, targets, of_rows, return_dict=True)["loss"]
    assert found == pytest.approx(expected, rel=1e-4)
    model.reset_metrics()
    found = model.test_on_batch(inputs, targets, np.ones((3, 6)), return_dict=True)["loss"]
    assert found == pytest.approx(values.mean(), rel=1e-4)


def test_targets_of_padding_alone():
    model, (inputs, targets) = build("language_model", LOSSES["plain"]), rows(PLACES)
    logs = model.test_on_batch(inputs, 0 * targets, return_dict=True)
    assert logs["loss"] == 0.0


def test_fit_in_a_graph():
    model, (inputs, targets) = build("language_model", LOSSES["plain"]), rows(PLACES)
    values, real = cross_entropy(model, "language_model", inputs, targets)
    model.compile(keras.optimizers.SGD(0.0), LOSSES["plain"], jit_compile=False)
    history = model.fit(inputs, targets, batch_size=3, epochs=1, verbose=0).history
    assert history["loss"] == pytest.approx([values[real].mean()], rel=1e-4)


def test_weights_of_rows_in_one_call_and_of_tokens_in_the_next():
    """Keras traces the second call for weights of any number of axes."""
    model, (inputs, targets) = build("language_model", LOSSES["plain"]), rows(PLACES)
    values, real = cross_entropy(model, "language_model", inputs, targets)
    model.compile(loss=LOSSES["plain"])
    of_rows = np.array([2.0, 0.0, 3.0], "float32")
    of_tokens = np.arange(18, dtype="float32").reshape(3, 6)
    expected = [(values * of_tokens).sum() / 18, (values * real * of_rows[:, None]).sum()]
    expected[1] /= real.sum()
    found = [
        model.evaluate(inputs, targets, sample_weight=weights, verbose=0, return_dict=True)["loss"]
        for weights in (of_tokens, of_rows)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_kinds_of_targets():
    ids, logits = tf.constant([[7, 0, 3]]), tf.zeros([1, 3, 9])
    for targets in (ids, ids[..., None], tf.one_hot(ids, 9), tf.cast(ids, tf.float32)):
        np.testing.assert_array_equal(real_targets(targets, logits, 0), [[True, False, True]])
