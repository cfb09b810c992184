"""Label smoothing and perplexity against their definitions; BLEU; scores of labels."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.training.optim.losses import Perplexity, SmoothedCrossEntropy
from moe_zoo.training.recipes.classifier.report import label_scores, label_table, summary
from moe_zoo.training.recipes.translation.bleu import corpus_bleu

B, T, V = 3, 5, 7


def reference(labels, logits, weights, smoothing):
    """`-sum_v q_v log p_v` with the tensor of targets that the loss does without."""
    total = 0.0
    for row in np.ndindex(labels.shape):
        p = np.exp(logits[row] - logits[row].max())
        p /= p.sum()
        q = np.full(V, smoothing / V)
        q[labels[row]] += 1 - smoothing
        total -= weights[row] * np.sum(q * np.log(p))
    return total / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_loss_and_gradient_are_those_of_the_definition(smoothing):
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(B, T, V)) * 3
    labels, weights = draw.integers(0, V, (B, T)), draw.integers(0, 2, (B, T)).astype("float32")
    loss = SmoothedCrossEntropy(smoothing)
    x = tf.Variable(logits, dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = loss(labels, x, sample_weight=weights)
    expected = reference(labels, logits, weights, smoothing)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    gradient = tape.gradient(value, x).numpy()
    step = 1e-5
    for place in [(0, 0, 0), (1, 2, 3), (2, 4, 6), (2, 4, labels[2, 4])]:
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (reference(labels, y, weights, smoothing) for y in moved)
        np.testing.assert_allclose(gradient[place], (up - down) / (2 * step), atol=1e-6)


def test_padding_does_not_count_and_half_precision_is_enough_for_logits():
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(B, T, V)).astype("float32")
    labels = draw.integers(0, V, (B, T))
    loss = SmoothedCrossEntropy(0.1)
    full = loss(labels[:, :2], logits[:, :2], sample_weight=np.ones((B, 2), "float32"))
    weights = (np.arange(T) < 2) * np.ones((B, 1), "float32")
    np.testing.assert_allclose(loss(labels, logits, sample_weight=weights), full, rtol=1e-6)
    half = loss(labels, tf.cast(logits, tf.bfloat16), sample_weight=weights)
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, full, rtol=1e-2)
    again = SmoothedCrossEntropy.from_config(loss.get_config())
    assert again.smoothing == 0.1 and again.reduction == "mean_with_sample_weight"
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(
        SmoothedCrossEntropy()(labels, logits), plain(labels, logits), rtol=1e-6
    )


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_that_cannot_be(smoothing):
    with pytest.raises(ValueError, match=rf"Received: smoothing={smoothing}\. 0\.1 is common"):
        SmoothedCrossEntropy(smoothing)


def test_perplexity_is_the_exponential_of_the_weighted_mean_loss():
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(size=(2, 5, 7)), rng.integers(0, 7, (2, 5))
    weights = rng.integers(0, 2, (2, 5)).astype("float32")
    metric = Perplexity()
    total = 0.0
    for i in range(2):  # two updates
        metric.update_state(targets[i], logits[i], sample_weight=weights[i])
        for j in range(5):
            log_sum = np.log(np.sum(np.exp(logits[i, j])))
            total += weights[i, j] * (log_sum - logits[i, j, targets[i, j]])
    np.testing.assert_allclose(metric.result(), np.exp(total / weights.sum()), rtol=1e-5)
    again = Perplexity.from_config(json.loads(json.dumps(metric.get_config())))
    assert again.name == "perplexity"


def test_bleu_is_by_its_definition():
    """6 tokens for a reference of 7, whose n-grams are 6/6, 4/5, 2/4 and 1/3 right."""
    pytest.importorskip("sacrebleu")
    written, right = "the cat sat on mat .", "the cat sat on the mat ."
    precisions = (6 / 6, 4 / 5, 2 / 4, 1 / 3)
    expected = 100 * np.exp(1 - 7 / 6) * np.prod(precisions) ** 0.25
    score = corpus_bleu([written], [right])
    assert score.score == pytest.approx(expected, abs=1e-4)
    assert "tok:13a" in score.signature and "case:mixed" in score.signature
    with pytest.raises(ValueError, match="1 translations, 2 references"):
        corpus_bleu([written], [right, right])


def test_bleu_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"package sacrebleu.*pip install 'moe-zoo\[bleu\]'"):
        corpus_bleu(["a"], ["a"])


def test_scores_of_labels_by_hand():
    labels, predicted, names = [0, 0, 0, 1, 2], [0, 0, 1, 1, 1], ["a", "b", "c", "d"]
    rows = label_scores(labels, predicted, names)
    assert [row["texts"] for row in rows] == [3, 1, 1, 0]
    assert [row["precision"] for row in rows] == [1.0, 1 / 3, 0.0, 0.0]
    assert [row["recall"] for row in rows] == [2 / 3, 1.0, 0.0, 0.0]
    assert [row["f1"] for row in rows] == pytest.approx([0.8, 0.5, 0.0, 0.0])
    assert summary(labels, predicted, names) == pytest.approx(
        {"accuracy": 3 / 5, "macro_f1": 1.3 / 3}  # of d there is none
    )
    head = label_table(rows).splitlines()[0]
    assert head.split() == ["label", "texts", "precision", "recall", "f1"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_may_have_an_axis_of_their_own(smoothing):
    logits = np.random.default_rng(3).normal(size=(B, V)).astype("float32")
    loss = SmoothedCrossEntropy(smoothing)
    assert float(loss([[1], [2], [6]], logits)) == float(loss([1, 2, 6], logits))
