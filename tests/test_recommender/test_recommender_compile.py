"""Weights, losses and metrics of a recommender by task, as Keras' calls are given them."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.models.recommender.by_task import metrics_by_task
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask
from small_recommender import NAN, PAIR, X, Y, small


def test_a_metric_keeps_its_name():
    """However it is given: as an object, a class, a function or its name."""
    given = [
        keras.metrics.Precision(name="hits"),
        keras.metrics.Recall,
        keras.losses.poisson,
        "mae",
    ]
    metrics = metrics_by_task("metrics", {"click": given}, PAIR)["click"]
    assert [metric.name for metric in metrics] == ["hits", "recall", "poisson", "mae"]


# === Weights of rows ===


def evaluated(tasks, y=Y, x=X, sample_weight=None, **compiled):
    keras.utils.set_random_seed(0)
    model = small(tasks)
    model.compile("sgd", run_eagerly=True, **compiled)
    found = model.evaluate(x, y, sample_weight=sample_weight, verbose=0, return_dict=True)
    return model, found


def test_sample_weights_of_one_task():
    weights = np.array([0.5, 0.25, 3.0, 1.0])
    ones = {"click": weights, "rating": np.ones(4)}
    expected = evaluated(PAIR, sample_weight=ones)[1]
    for given in ({"click": weights}, {"click": weights[:, None], "rating": None}):
        assert evaluated(PAIR, sample_weight=given)[1] == expected
    pd = pytest.importorskip("pandas")
    assert evaluated(PAIR, sample_weight=pd.DataFrame({"click": weights}))[1] == expected
    both = evaluated(PAIR, sample_weight=weights)[1]
    assert evaluated(PAIR, sample_weight=pd.Series(weights))[1] == both
    dataset = tf.data.Dataset.from_tensors((X, Y, {"click": weights}))
    assert evaluated(PAIR, None, dataset)[1]["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"clik": np.ones(4)}, "sample weights of tasks .* click, rating. Received: 'clik'"),
        (np.array([1, NAN, 1, 1]), "finite sample weights of task 'click'. Received: nan"),
        (np.ones((4, 2)), r"one sample weight in each row .*shape=\(4, 2\)"),
        (["1"] * 4, "Received: shape=.*dtype=string"),
    ],
)
def test_sample_weights_that_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        evaluated(PAIR, sample_weight=weights)
    if isinstance(weights, dict):
        with pytest.raises(ValueError, match=words):
            evaluated(PAIR, None, tf.data.Dataset.from_tensors((X, Y, weights)))


@pytest.mark.parametrize("task", [BinaryTask("k"), ClassTask("k", 3)], ids=str)
def test_weights_of_classes(task):
    y = np.array([1.0, 0.0, NAN, 1.0])
    by_row = np.array([0.5, 2.0, 9.0, 0.5])
    given = {"class_weight": {0: 2.0, 1: 0.5}, "verbose": 0}

    def loss(*args, **kwargs):
        keras.utils.set_random_seed(0)
        model = small([task])
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        return model.fit(*args, **kwargs).history["loss"]

    expected = loss(X, y, sample_weight=by_row, verbose=0)
    assert loss(X, y, **given) == expected
    assert loss(tf.data.Dataset.from_tensors((X, y)), **given) == pytest.approx(expected)
    with pytest.raises(ValueError, match="weights by class, from 0 to .* class_weight={7: 1.0}"):
        loss(X, y, class_weight={7: 1.0})
    for wrong in (NAN, -1.0, "2"):
        with pytest.raises(ValueError, match=f"at least 0.0. Received: class_weight={wrong!r}. "):
            loss(X, y, class_weight={1: wrong})
    with pytest.raises(ValueError, match="class_weight or sample_weight. Received: both"):
        loss(X, y, sample_weight=by_row, **given)


# === compile ===


def part_losses():
    """The weighted losses of both tasks, from the outputs."""
    model, found = evaluated(PAIR)
    return 2 * found["click_log_loss"], 0.25 * found["rating_rmse"] ** 2


def test_loss_weights():
    click, rating = part_losses()
    for given in ({"click": 3.0}, [3, 1], np.array([3.0, 1.0]), {"click": np.float32(3)}):
        model, found = evaluated(PAIR, loss_weights=given)
        assert found["loss"] == pytest.approx(3 * click + rating, rel=1e-5)
        assert model.task_weights() == {"click": 6.0, "rating": 0.25}
    one = [BinaryTask("click", weight=2.0)]
    assert evaluated(one, {"click": Y["click"]}, loss_weights=0.5)[1]["loss"] == pytest.approx(
        0.5 * evaluated(one, {"click": Y["click"]})[1]["loss"], rel=1e-6
    )
    keras.utils.set_random_seed(0)
    model = small(PAIR, uncertainty_weights=True)  # e^0 L, e^0 L / 2 to begin with
    model.compile("sgd", loss_weights={"rating": 7.0}, run_eagerly=True)
    found = model.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(click + 7 * rating / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"loss_weights": {"clik": 1}},
            "with labels out of click, rating. Received: 'clik'. Did",
        ),
        ({"loss_weights": {"click": -1}}, "at least 0. Received: loss_weights=-1 for task 'click'"),
        ({"loss_weights": {"click": NAN}}, "Received: loss_weights=nan for task 'click'"),
        ({"loss_weights": {"click": float("inf")}}, "Received: loss_weights=inf"),
        ({"loss_weights": {"click": "1"}}, "Received: loss_weights='1'"),
        ({"loss_weights": [1.0]}, r"loss_weights for 2 tasks, click, rating. .*\[1.0\]. Give a di"),
        ({"loss_weights": 2.0}, "loss_weights for 2 tasks"),
        ({"loss": {"clik": "mse"}}, "loss of tasks .* click, rating. Received: 'clik'"),
        ({"loss": {"click": "mse"}}, "without one for 'rating'. Give None"),
        ({"loss": {"click": None, "rating": None}}, "without one for any"),
        ({"metrics": {"buy": ["mae"]}}, "Expected metrics of tasks .* Received: 'buy'"),
        ({"weighted_metrics": ["mae"]}, "weighted_metrics for 2 tasks, click, rating"),
        ({"metrics": {"rating": ["accuracy"]}}, "a metric of a number. Received: 'accuracy' for"),
        ({"metrics": [m := keras.metrics.AUC(), m]}, "of its own for each task. .* 'auc.*' twice"),
    ],
)
def test_what_compile_refuses(given, words):
    model = small(
        [*PAIR, BinaryTask("buy", label=False), ProductTask("p", ("click", "buy"), 1, False)]
    )
    with pytest.raises(ValueError, match=words):
        model.compile("sgd", **given)


def test_own_losses_skip_missing_labels():
    for loss in ({"click": "mse", "rating": "mae"}, ["mse", "mae"]):
        model, found = evaluated(PAIR, loss=loss, loss_weights={"rating": 10.0})
        outputs = model(X)
        mse = np.nanmean((Y["click"] - outputs["click"]) ** 2)
        mae = np.nanmean(np.abs(Y["rating"] - outputs["rating"]))
        assert found["loss"] == pytest.approx(mse + 10 * mae, rel=1e-5)
    model, found = evaluated(PAIR, loss={"click": "binary_crossentropy", "rating": None})
    assert found["loss"] == pytest.approx(found["click_log_loss"], rel=1e-5)
    with pytest.raises(ValueError, match="own losses with uncertainty_weights=True. Received: los"):
        small(PAIR, uncertainty_weights=True).compile("sgd", loss="mse")


def test_own_metrics_skip_missing_labels():
    weights = np.array([0.5, 0.25, 3.0, 1.0])
    model, found = evaluated(
        PAIR,
        sample_weight=weights,
        metrics={"rating": ["mae"], "click": "accuracy"},
        weighted_metrics=[None, [keras.metrics.MeanAbsoluteError("weighed")]],
    )
    outputs = model(X)
    errors = np.abs(Y["rating"] - outputs["rating"])[1:3]
    assert found["rating_mae"] == pytest.approx(errors.mean(), rel=1e-5)
    expected = np.average(errors, weights=weights[1:3])
    assert found["rating_weighed"] == pytest.approx(expected, rel=1e-5)
    right = ((outputs["click"].numpy() > 0.5) == Y["click"])[[0, 1, 3]]
    assert found["click_accuracy_1"] == pytest.approx(right.mean(), rel=1e-5)
    weighted = np.average(right, weights=weights[[0, 1, 3]])
    assert found["click_accuracy"] == pytest.approx(weighted, rel=1e-5)


# === Labels on another scale ===


@pytest.mark.parametrize("stream", [False, True])
def test_labels_on_a_raw_scale_are_warned_of_once(stream):
    rating = np.array([1e5, NAN, 3e5, 2e5])
    y = {"click": Y["click"], "rating": rating}
    data = (tf.data.Dataset.from_tensors((X, y)), None) if stream else (X, y)
    words = "RegressionTask..rating.. near .* a mean of 200000 and a deviation of 81649.7"
    with pytest.warns(UserWarning, match=words) as said:
        model = small([BinaryTask("click"), RegressionTask("rating")])
        model.compile("sgd", run_eagerly=True)
        model.fit(*data, epochs=2, verbose=0)
    assert sum("deviation" in str(warning.message) for warning in said) == 1
    with pytest.warns(UserWarning, match="vanishes next to theirs"):
        model = small([RegressionTask("rating")])
        model.compile("sgd", run_eagerly=True)
        model.fit(X, rating / 1e9, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small([BinaryTask("click"), RegressionTask("rating", mean=2e5, deviation=8e4)])
        model.compile("sgd", run_eagerly=True)
        model.fit(*data, verbose=0)
