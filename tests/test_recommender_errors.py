"""What a recommender refuses, and what it says."""

import warnings

import pytest
import tensorflow as tf

from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.features import Number
from moe_zoo.models.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask
from small_recommender import NAN, ROWS, X, Y, labels, recommender, small, table


def test_metrics_that_are_undefined_are_said_and_left_out():
    model = small([BinaryTask("click"), RegressionTask("rating")])
    model.compile("adam")
    y = {"click": [1, 1, 1, 1], "rating": [NAN] * 4}
    said = (
        "click_auc: every label is 1, one class only; rating_rmse: no row has a label. These are "
        "left out"
    )
    with pytest.warns(UserWarning, match=said):
        found = model.evaluate(X, y, verbose=0, return_dict=True)
    assert set(found) == {"loss", "click_log_loss", "click_accuracy", "click_calibration"}
    with pytest.warns(UserWarning, match="rating_rmse: no row"):
        history = model.fit(X, Y, validation_data=(X, y), verbose=0).history
    assert "val_loss" in history and "val_click_auc" not in history
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "rating_rmse" in model.evaluate(X, Y, verbose=0, return_dict=True)


def test_columns_and_labels_that_are_not_there():
    model = recommender(SharedBottom(3, (8,)))
    model.compile("adam")
    columns = table()
    columns["job_title"] = columns.pop("job title")
    for call in (model.predict, lambda x: model.fit(x, labels()), model.encode, model):
        with pytest.raises(ValueError, match="a column 'job title'. .*Is it 'job_title'"):
            call(columns)
    y = labels()
    y["clicks"] = y.pop("click")
    with pytest.raises(ValueError, match="Expected a label 'click'. .* Is it 'clicks'"):
        model.fit(table(), y)
    x = {**table(), "tags": [["a"]] * ROWS}
    with pytest.raises(ValueError, match="Expected a dict by label. Received"):
        model.evaluate(tf.data.Dataset.from_tensors((x, y["both"])))
    encoded = model.encode(table())
    encoded["users"] = encoded.pop("user")
    with pytest.raises(ValueError, match="encoded column 'user'. .*Is it 'users'"):
        model.core.predict(encoded)


def test_labels_outside_their_range():
    model = small([BinaryTask("click"), ClassTask("k", 3, missing_label=-1)])
    model.compile("adam")
    good, bad = {"click": [0, 1, 1, 0], "k": [0, 1, 2, -1]}, {"click": [0, 1, 2, 0], "k": [0] * 4}
    with pytest.raises(ValueError, match="labels of task 'click' to be 0 or 1. Received: 2"):
        model.fit(X, bad)
    with pytest.raises(ValueError, match="task 'click'"):
        model.fit(X, good, validation_data=(X, bad))
    with pytest.raises(tf.errors.InvalidArgumentError, match="click.* to be 0 or 1. Received"):
        model.fit(tf.data.Dataset.from_tensors((X, bad)), verbose=0)


def test_use_before_adapting():
    model = recommender(adapted=False)
    for call in (model, model.encode, model.predict):
        with pytest.raises(ValueError, match="features that are adapted. Received: 'age', 'hours'"):
            call(table())
    with pytest.raises(ValueError, match=r"Call adapt\(data\) with the training part first"):
        assert model.core
    model.adapt(table())
    with pytest.raises(ValueError, match="Make a new model"):
        model.adapt(table())


@pytest.mark.parametrize(
    ("tasks", "towers", "words"),
    [
        ([], 1, r"at least one task with a label. Received: tasks=\[\]"),
        ([BinaryTask("a", label=False)], 1, "Without one nothing can be learned"),
        (["a"], 1, "Received: 'a'. Describe what is to be predicted"),
        ([BinaryTask("a"), ClassTask("a", 3)], 2, "Received: 'a' twice. Rename one"),
        ([BinaryTask("x")], 1, "Received: 'x' as both, so that the model would see what"),
        ([BinaryTask("a")], 2, "mixing for 1 tasks, .*: a. Received: mixing.num_tasks=2"),
        ([BinaryTask("a"), ProductTask("b", ("a", "c"))], 1, "where 'c' is 'none before it'"),
        ([RegressionTask("a"), ProductTask("b", ("a", "a"))], 1, "'a' is RegressionTask"),
    ],
)
def test_tasks_that_do_not_fit(tasks, towers, words):
    with pytest.raises(ValueError, match=words):
        MultiTaskRecommender({"x": Number()}, tasks, SharedBottom(towers, (4,)))
