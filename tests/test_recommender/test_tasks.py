"""Tasks: losses and metrics against slow NumPy versions, missing labels, products."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from moe_zoo.models.recommender.task_model import task_loss
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask
from moe_zoo.models.recommender.tasks.metrics import LogitAUC, TaskMetric

NAN = float("nan")
BINARY, REGRESSION = BinaryTask("click"), RegressionTask("rating")
CLASSES = ClassTask("k", 5, missing_label=-1)
LABELS = {
    BINARY: np.array([1, NAN, 0, 1, NAN, 0, 1], "float32"),
    REGRESSION: np.array([NAN, 2.5, -1.0, 3.0, NAN, 0.0, 8.0], "float32"),
    CLASSES: np.array([4, 0, -1, 2, -1, -1, 3], "int32"),
}
TASKS = list(LABELS)


def logits(task, rows=7, seed=0):
    shape = (rows, task.units)
    return np.random.default_rng(seed).normal(0, 2, shape).astype("float32")


def row_loss(task, label, row):
    """The loss of one row in float64, written from its definition."""
    row = np.asarray(row, np.float64)
    if task is REGRESSION:
        return (label - row[0]) ** 2
    if task is CLASSES:
        return np.log(np.exp(row).sum()) - row[int(label)]
    p = 1 / (1 + np.exp(-row[0]))
    return -np.log(p) if label == 1 else -np.log(1 - p)


def mean_loss(task, labels, rows, weights, s=None):
    """The mean over the rows with a label; equations 5, 7 and 10 of Kendall et al. with `s`."""
    total, count = 0.0, 0
    for label, row, weight in zip(labels, rows, weights, strict=True):
        if np.isnan(label) or (task is CLASSES and label == -1):
            continue
        loss = row_loss(task, label, row)
        if s is not None:
            loss = (0.5 if task is REGRESSION else 1.0) * np.exp(-s) * loss + s / 2
        total, count = total + weight * loss, count + 1
    return total / count if count else 0.0


# === Losses ===


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize("s", [None, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_against_a_loop(task, s, weighted):
    rows = logits(task)
    weights = np.arange(7) / 3 if weighted else np.ones(7)
    given_weights = tf.constant(weights, "float32") if weighted else None
    log_variance = None if s is None else tf.constant(s)
    found = task_loss(
        task, LABELS[task], task.output(tf.constant(rows)), given_weights, log_variance
    )
    assert float(found) == pytest.approx(mean_loss(task, LABELS[task], rows, weights, s), rel=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_missing_label_adds_nothing(task):
    rows = tf.constant(logits(task))
    missing = np.full(7, -1, "int32") if task is CLASSES else np.full(7, NAN, "float32")
    s = tf.constant(0.5)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([rows, s])
        some = task_loss(task, LABELS[task], task.output(rows), None, s)
        none = task_loss(task, missing, task.output(rows), None, s)
    gradient = tape.gradient(some, rows).numpy()
    there = task.present(tf.constant(LABELS[task])).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[there].any(1).all() and not gradient[~there].any()
    assert float(none) == 0
    assert not tape.gradient(none, rows).numpy().any()
    assert float(tape.gradient(none, s)) == 0


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_rows_without_a_label_can_be_left_out(task):
    rows, labels = logits(task), LABELS[task]
    there = task.present(tf.constant(labels)).numpy()
    whole = task_loss(task, labels, task.output(tf.constant(rows)))
    part = task_loss(task, labels[there], task.output(tf.constant(rows[there])))
    assert float(whole) == pytest.approx(float(part), rel=1e-6)


def test_logits_that_round_to_certainty_still_learn():
    logit = tf.constant([[200.0], [-200.0]])
    with tf.GradientTape() as tape:
        tape.watch(logit)
        loss = task_loss(BINARY, tf.constant([0.0, 1.0]), BINARY.output(logit))
    assert float(loss) == 200.0
    assert tape.gradient(loss, logit).numpy().tolist() == [[0.5], [-0.5]]


def test_outputs_without_logits_give_nearly_the_same():
    for task in (BINARY, CLASSES):
        output = task.output(tf.constant(logits(task)))
        plain = tf.constant(output.numpy())
        assert not hasattr(plain, "_keras_logits")
        expected = task_loss(task, LABELS[task], output)
        assert float(task_loss(task, LABELS[task], plain)) == pytest.approx(
            float(expected), rel=1e-4
        )


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "float64"])
def test_labels_of_any_type(dtype):
    labels = np.array([1, 0, 0, 1, 1, 0, 1])
    output = BINARY.output(tf.constant(logits(BINARY)))
    expected = float(task_loss(BINARY, labels.astype("float32"), output))
    assert float(task_loss(BINARY, labels.astype(dtype), output)) == pytest.approx(expected)
    assert float(task_loss(BINARY, labels[:, None].astype(dtype), output)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("dtype", ["int64", "int8", "float32"])
def test_whole_numbers_are_missing_only_if_said(dtype):
    labels = np.array([-1, 1], dtype)
    for task in (BinaryTask("a", missing_label=-1), RegressionTask("a", missing_label=-1), CLASSES):
        assert task.read(labels)[1].numpy().tolist() == [False, True]
        task.check(labels)
        assert task.read(np.array([NAN, 1.0]))[1].numpy().tolist() == [False, True]
    assert REGRESSION.read(labels)[1].numpy().tolist() == [True, True]
    with pytest.raises(ValueError, match="0 or 1. Received: -1.*by the task's `missing_label`"):
        BINARY.check(labels)


def test_a_standardized_regression():
    mean, deviation = 1.7e9, 1e4  # float32 cannot tell labels that differ by less than 128
    task = RegressionTask("time", mean=mean, deviation=deviation)
    rows = logits(task)
    labels = mean + deviation * np.array([0.5, -1.0, NAN, 2.0, 0.0, 0.25, -3.0])
    output = task.output(tf.constant(rows))
    z = rows[:, 0].astype("float64")
    np.testing.assert_allclose(output, mean + deviation * z, rtol=1e-6)
    expected = np.nanmean(((labels - mean) / deviation - z) ** 2)
    assert float(task_loss(task, labels, output)) == pytest.approx(expected, rel=1e-5)
    (metric,) = (TaskMetric(task, metric) for metric in task.metrics())
    metric.update_state(labels, output)
    assert float(metric.result()) == pytest.approx(deviation * np.sqrt(expected), rel=1e-2)


# === Products ===


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=4))
def test_product_against_probabilities(values):
    task = ProductTask("both", of=[f"t{i}" for i in range(len(values))])
    found = float(task.product(values))
    # log(1 - prod p) by expm1, all in float64
    log_p = -sum(np.log1p(np.exp(-np.float64(x))) for x in values)
    expected = log_p - np.log(-np.expm1(log_p))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_product_learns_where_probabilities_round():
    task = ProductTask("both", of=("a", "b"))
    for a, b, label in ((-100.0, -80.0, 1.0), (120.0, 90.0, 0.0), (100.0, -90.0, 1.0)):
        pair = [tf.constant([[a]]), tf.constant([[b]])]
        with tf.GradientTape() as tape:
            tape.watch(pair)
            loss = task_loss(task, tf.constant([label]), task.output(task.product(pair)))
        # -log p q = softplus(-a) + softplus(-b); -log(1 - p q) is near the smaller logit
        expected = max(-a, 0) + max(-b, 0) if label else min(a, b)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        gradients = [float(tf.squeeze(x)) for x in tape.gradient(loss, pair)]
        assert np.isfinite(gradients).all() and any(gradients)


# === Metrics ===


def exact_auc(labels, outputs, weights):
    """The share of pairs in order, pair by pair."""
    won = total = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pair = weights[i] * weights[j]
            won += pair * ((outputs[i] > outputs[j]) + (outputs[i] == outputs[j]) / 2)
            total += pair
    return won / total


@pytest.mark.parametrize("shift", [0.0, -7.0])
def test_auc_against_all_pairs(shift):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    rows = (labels * 0.8 + rng.normal(0, 1, 600) + shift).astype("float32")
    weights = rng.uniform(0, 2, 600).astype("float32")
    outputs = BINARY.output(tf.constant(rows[:, None]))
    metric = LogitAUC()
    for part in np.split(np.arange(600), 4):
        metric.update_state(
            tf.constant(labels[part]), tf.gather(outputs, part), tf.constant(weights[part])
        )
    expected = exact_auc(labels, rows, weights)
    assert float(metric.result()) == pytest.approx(expected, abs=2e-4)
    if shift == 0:  # where Keras' evenly spaced thresholds do well too
        theirs = keras.metrics.AUC(2000)
        theirs.update_state(labels, outputs, sample_weight=weights)
        assert float(metric.result()) == pytest.approx(float(theirs.result()), abs=1e-3)


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_against_numpy(task, weighted):
    rows, labels = logits(task), LABELS[task]
    weights = np.arange(1, 8) / 3 if weighted else np.ones(7)
    found = {}
    for metric in task.metrics():
        metric = TaskMetric(task, metric)
        for part in (slice(0, 3), slice(3, 7)):
            output = task.output(tf.constant(rows[part]))
            metric.update_state(labels[part], output, weights[part] if weighted else None)
        found[metric.name] = float(metric.result())
    there = task.present(tf.constant(labels)).numpy()
    y, r, w = labels[there], rows[there].astype("float64"), weights[there]
    losses = [row_loss(task, *pair) for pair in zip(y, r, strict=True)]
    if task is REGRESSION:
        expected = {"rating_rmse": np.sqrt(np.average(losses, weights=w))}
    elif task is CLASSES:
        right = r.argmax(1) == y
        expected = {"k_log_loss": np.average(losses, weights=w)}
        expected["k_accuracy"] = np.average(right, weights=w)
    else:
        p = 1 / (1 + np.exp(-r[:, 0]))
        expected = {
            "click_auc": exact_auc(y, p, w),
            "click_log_loss": np.average(losses, weights=w),
            "click_accuracy": np.average((p > 0.5) == y, weights=w),
            "click_calibration": (w * p).sum() / (w * y).sum(),
        }
    assert found == pytest.approx(expected, rel=1e-4)


def test_metrics_say_when_they_are_undefined():
    metrics = {m.name: TaskMetric(BINARY, m) for m in BINARY.metrics()}

    def reasons(labels):
        for metric in metrics.values():
            metric.reset_state()
            metric.update_state(np.array(labels, "float32"), tf.fill([len(labels)], 0.5))
        found = {name: metric.undefined() for name, metric in metrics.items()}
        return {name: reason for name, reason in found.items() if reason}

    assert reasons([0, 1]) == {}
    assert reasons([1, NAN]) == {"auc": "every label is 1, one class only"}
    assert reasons([0, 0]) == {
        "auc": "every label is 0, one class only",
        "calibration": "every label is 0",
    }
    assert reasons([NAN, NAN]) == dict.fromkeys(metrics, "no row has a label")
    assert all(np.isfinite(float(metric.result())) for metric in metrics.values())


# === Configuration and errors ===


@pytest.mark.parametrize(
    "task",
    [
        BinaryTask("a", 0.5, (3, 2)),
        RegressionTask("b", tower=(), mean=-2.5, deviation=3.0),
        ClassTask("c", 4, label=False, missing_label=9),
        ProductTask("d", ("a", "e"), weight=2.0, missing_label=-1),
    ],
    ids=str,
)
def test_tasks_survive_serialization(task):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert type(again) is type(task) and again.get_config() == task.get_config()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BinaryTask(""), "Expected a name without '/'. Received: name=''"),
        (lambda: BinaryTask("a/b"), "Received: name='a/b'. Name the task by the column"),
        (lambda: BinaryTask("a", weight=-1), "Received: weight=-1"),
        (lambda: BinaryTask("a", tower=(0,)), "Received: tower=0"),
        (lambda: RegressionTask("a", deviation=0), "above 0. Received: deviation=0 of task 'a'"),
        (lambda: RegressionTask("a", mean=NAN), "a finite number. Received: mean=nan. Take it"),
        (lambda: RegressionTask("a", deviation="2"), "Received: deviation='2'"),
        (
            lambda: BinaryTask("a", missing_label=1),
            "outside of 0 to 1, .* Received: missing_label=1",
        ),
        (lambda: ClassTask("a", 3, missing_label=2), "outside of 0 to 2, .*missing_label=2. -1 is"),
        (lambda: BinaryTask("a", missing_label=0.5), "Received: missing_label=0.5"),
        (lambda: ClassTask("a", 1), "Received: num_classes=1"),
        (lambda: ProductTask("a", of="click"), "names of at least two .* Received: of='click'"),
        (lambda: ProductTask("a", of=["b"]), r"Received: of=\['b'\]. Give them as in of="),
    ],
)
def test_tasks_that_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


WRONG = [
    (BINARY, [0.0, 2.0], "labels of task 'click' to be 0 or 1. Received: 2.0. Correct them"),
    (BINARY, [0.0, -1.0], "Received: -1.0"),
    (CLASSES, [0, 5], "task 'k' to be whole numbers from 0 to 4. Received: 5. Correct them"),
    (CLASSES, [0.5, NAN], "Received: 0.5"),
    (REGRESSION, [1.0, np.inf], "task 'rating' to be finite numbers. Received: inf"),
]


@pytest.mark.parametrize(("task", "labels", "words"), WRONG)
def test_labels_outside_their_range(task, labels, words):
    with pytest.raises(ValueError, match=words):
        task.check(np.array(labels))
    received = words.split("Received: ")[1].split(".")[0]
    said = f"{task.name}.* to be {task.accepts}. Received: .*{received}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=said):
        tf.function(task.check)(tf.constant(labels))


@pytest.mark.parametrize("labels", [[[1.0, 0.0]], ["yes"]])
def test_labels_of_another_kind(labels):
    with pytest.raises(ValueError, match="one label in each row for task 'click': 0 or 1. Rec"):
        BINARY.check(np.array(labels))
