"""What a recommender refuses, and what it says."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender, RecommenderCore
from moe_zoo.models.recommender.features import Number
from moe_zoo.models.recommender.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask
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
    model = recommender(SharedBottom((8,)))
    model.compile("adam")
    columns = table()
    columns["job_title"] = columns.pop("job title")
    for call in (model.predict, lambda x: model.fit(x, labels()), model.encode, model):
        with pytest.raises(ValueError, match="a column 'job title'. .*Did you mean 'job_title'"):
            call(columns)
    y = labels()
    y["clicks"] = y.pop("click")
    with pytest.raises(ValueError, match="Expected a label 'click'. .* Did you mean 'clicks'"):
        model.fit(table(), y)
    x = {**table(), "tags": [["a"]] * ROWS}
    with pytest.raises(ValueError, match="Expected a dict by label. Received"):
        model.evaluate(tf.data.Dataset.from_tensors((x, y["both"])))
    encoded = model.encode(table())
    encoded["users"] = encoded.pop("user")
    with pytest.raises(ValueError, match="encoded column 'user'. .*Did you mean 'users'"):
        model.core.predict(encoded)


def test_a_core_takes_no_text_for_a_switch():
    features = {"age": Number(mean=0.0, variance=1.0)}
    with pytest.raises(ValueError, match="True or False. Received: uncertainty_weights='no'"):
        RecommenderCore(features, [BinaryTask("click")], SharedBottom((8,)), "no")


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
        (
            BinaryTask("a"),
            1,
            r"a list of tasks. Received: tasks=BinaryTask\('a'\). Put a single one",
        ),
        ("a", 1, "Received: tasks='a'. Put a single one into a list"),
        (None, 1, "Received: tasks=None. Put a single one into a list"),
        (["a"], 1, "Received: 'a'. Describe what is to be predicted"),
        ([BinaryTask("a"), ClassTask("a", 3)], 2, "Received: 'a' twice. Rename one"),
        ([BinaryTask("x")], 1, "Received: 'x' as both, so that the model would see what"),
        ([BinaryTask("a")], 2, "mixing for 1 tasks, .*: a. Received: mixing.num_tasks=2. Leave"),
        ([BinaryTask("a"), ProductTask("b", ("a", "c"))], 1, "where 'c' is 'none before it'"),
        ([RegressionTask("a"), ProductTask("b", ("a", "a"))], 1, "'a' is RegressionTask"),
    ],
)
def test_tasks_that_do_not_fit(tasks, towers, words):
    with pytest.raises(ValueError, match=words):
        MultiTaskRecommender({"x": Number()}, tasks, SharedBottom((4,), num_tasks=towers))


@pytest.mark.parametrize(
    "features", [None, Number(), "x", ["age"], [("a", Number(), 1)], [[[], 1]]]
)
def test_features_that_are_no_columns(features):
    for kind in (MultiTaskRecommender, RecommenderCore):
        with pytest.raises(ValueError, match=r"a dict of features by .* features=.*'age': Number"):
            kind(features, [BinaryTask("a")], SharedBottom((4,)))


def test_generators_are_read_once():
    features = ((name, Number()) for name in "xy")
    tasks = (BinaryTask(name) for name in "ab")
    model = MultiTaskRecommender(features, tasks, SharedBottom((4,)))
    assert list(model.features) == ["x", "y"] and [x.name for x in model.tasks] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "steps", "words"),
    [
        (None, None, "a dict of columns, or batches of such. Received: data=None. Give the"),
        (3, None, "Received: data=3. Give the training part"),
        ("x", None, "Expected a dict by column. Received: str"),
        ([None], None, "Expected a dict by column. Received: NoneType"),
        ([], None, "Expected values in column 'x'"),
        (X, 0, "a whole number of at least 1. Received: steps=0"),
        (X, "1", "a whole number of at least 1. Received: steps='1'"),
    ],
)
def test_what_nothing_can_be_adapted_to(data, steps, words):
    model = MultiTaskRecommender({"x": Number()}, [BinaryTask("a")], SharedBottom((4,)))
    with pytest.raises(ValueError, match=words):
        model.adapt(data, steps)


NO_ROWS = {name: np.zeros(0) for name in ("x", *Y)}
NO_BATCHES = tf.data.Dataset.from_tensors((X, Y)).take(0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras' own, before the error
@pytest.mark.parametrize("data", [(NO_ROWS, NO_ROWS), (NO_BATCHES,)], ids=["arrays", "dataset"])
def test_data_without_a_row(data):
    model = small([BinaryTask("click"), RegressionTask("rating")])
    model.compile("adam", run_eagerly=True)
    for verb, run in {
        "train": lambda: model.fit(*data, verbose=0),
        "evaluate": lambda: model.evaluate(*data, verbose=0),
        "predict": lambda: model.predict(data[0], verbose=0),
    }.items():
        with pytest.raises(ValueError, match=f"one batch to {verb} on. Received: data without a"):
            run()
    with pytest.raises(ValueError, match="at least one batch to evaluate on"):
        model.fit(X, Y, validation_data=data if len(data) > 1 else data[0], verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_generator_that_ends_before_the_epochs_do_is_no_empty_one():
    model = small([BinaryTask("click"), RegressionTask("rating")])
    model.compile("adam", run_eagerly=True)
    batches = tf.data.Dataset.from_tensors((X, Y))
    history = model.fit(batches, epochs=2, steps_per_epoch=3, verbose=0).history
    assert len(history["loss"]) == 2 and np.isfinite(history["loss"]).all()
