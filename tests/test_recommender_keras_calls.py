"""Keras' own calls of a recommender: data of every kind, losses and weights by task, export."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.features import Category, Hashed, ListOf, Number
from moe_zoo.models.tasks import BinaryTask, ClassTask, ProductTask, RegressionTask
from small_recommender import NAN, PAIR, X, Y, assert_same, small

ROWS, BATCH = 14, 5  # the last batch is smaller, and its lists are shorter
BATCHES = 3


def columns():
    rng = np.random.default_rng(0)
    words = rng.choice(["a", "b", "c"], ROWS)
    return {
        "age": np.where(np.arange(ROWS) == 3, NAN, rng.normal(40, 9, ROWS)),
        "user": np.array([2**60 + i % 4 for i in range(ROWS)]),
        "tags": [list(words[: (i // 3) % 3]) for i in range(ROWS)],
        "seen": rng.integers(0, 4, (ROWS, 3)),
    }


def labels():
    click = np.where(np.arange(ROWS) % 4 == 1, NAN, np.arange(ROWS) % 2)
    return {"click": click, "rating": np.linspace(-1, 2, ROWS)}


def cut(data, i):
    return {name: values[i * BATCH : (i + 1) * BATCH] for name, values in data.items()}


def batch(i, kind=tuple, labelled=True):
    x, y = cut(columns(), i), cut(labels(), i)
    if i == 1:  # what one batch has as [B, 1] another may have as [B]
        x["age"], y = x["age"][:, None], {name: values[:, None] for name, values in y.items()}
        x["seen"] = np.pad(x["seen"], ((0, 0), (0, 2)), constant_values=-1)
    return kind((x, y)) if labelled else x


def batches(kind=tuple, labelled=True, forever=False):
    yield from (batch(i, kind, labelled) for i in range(BATCHES))
    if forever:
        yield from batches(kind, labelled, forever)


class Loader:
    """An iterable that starts anew, such as a DataLoader."""

    def __iter__(self):
        return batches(list)

    def __len__(self):
        return BATCHES


class Batches(keras.utils.PyDataset):
    def __init__(self, kind=tuple, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        return batch(index, self.kind)


def frames():
    pd = pytest.importorskip("pandas")
    x, y = columns(), labels()
    x["user"] = pd.array(x["user"], "Int64")
    x["tags"], x["seen"] = pd.Series(x["tags"]), pd.Series(list(x["seen"]))
    return pd.DataFrame(x), pd.DataFrame(y)


DATA = {
    "arrays": lambda: (columns(), labels()),
    "frames": frames,
    "generator": lambda: (batches(), None),
    "generator of lists": lambda: (batches(list), None),
    "iterator": lambda: (iter(list(batches())), None),
    "loader": lambda: (Loader(), None),
    "PyDataset": lambda: (Batches(), None),
    "PyDataset of lists": lambda: (Batches(list, workers=2), None),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    features = {
        "age": Number(),
        "user": Category(embedding_dim=3),
        "tags": ListOf(Category(embedding_dim=3)),
        "seen": ListOf(Hashed(7, embedding_dim=2)),
    }
    tasks = [BinaryTask("click"), RegressionTask("rating")]
    model = MultiTaskRecommender(features, tasks, SharedBottom(2, (5,)))
    model.adapt(columns())
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.fixture(scope="module")
def expected(model):
    """Outputs and the loss from the tasks' definitions, batch by batch."""
    outputs = {name: x.numpy() for name, x in model(columns()).items()}
    total = 0.0
    for i in range(BATCHES):
        part = {name: x[i * BATCH : (i + 1) * BATCH] for name, x in outputs.items()}
        y = cut(labels(), i)
        p = part["click"].astype("float64")
        log_loss = -(y["click"] * np.log(p) + (1 - y["click"]) * np.log(1 - p))
        squares = (y["rating"] - part["rating"]) ** 2
        total += len(p) * (np.nanmean(log_loss) + np.mean(squares))
    return outputs, total / ROWS


# === Data ===


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_every_kind(kind, model, expected):
    outputs, loss = expected
    size = {"batch_size": BATCH} if kind in ("arrays", "frames") else {}
    x, y = DATA[kind]()
    evaluated = model.evaluate(x, y, verbose=0, return_dict=True, **size)
    assert evaluated["loss"] == pytest.approx(loss, rel=1e-5)
    x, y = DATA[kind]()
    assert_same(model.predict(x, verbose=0, **size), outputs, rtol=1e-5)
    x, y = DATA[kind]()
    val_x, val_y = DATA[kind]()
    validation = (val_x, val_y) if val_y is not None else val_x
    history = model.fit(x, y, validation_data=validation, shuffle=False, verbose=0, **size).history
    assert [*history["loss"], *history["val_loss"]] == pytest.approx([loss, loss], rel=1e-5)


def test_adapt_and_encode_data_of_every_kind(model):
    encoded = model.encode(columns())
    for kind in DATA:
        again = MultiTaskRecommender(
            {
                "age": Number(),
                "user": Category(embedding_dim=3),
                "tags": ListOf(Category(embedding_dim=3)),
                "seen": ListOf(Hashed(7, embedding_dim=2)),
            },
            model.tasks,
            SharedBottom(2, (5,)),
        )
        again.adapt(DATA[kind]()[0])
        for name, feature in again.features.items():
            found, wanted = feature.get_config(), model.features[name].get_config()
            if name == "age":  # moments of parts are added up in another order
                assert found.pop("mean") == pytest.approx(wanted.pop("mean"), rel=1e-12)
                assert found.pop("variance") == pytest.approx(wanted.pop("variance"), rel=1e-12)
            assert found == wanted, (kind, name)
        parts = model.encode(DATA[kind]()[0])
        users = parts["user"] if isinstance(parts, dict) else [x["user"] for x, _ in parts]
        np.testing.assert_array_equal(np.hstack(users), encoded["user"])


def test_the_core_takes_batches_of_encoded_rows(model, expected):
    core = model.core
    core.compile("sgd")
    found = core.predict((x for x, _ in model.encode(batches())), verbose=0, steps=BATCHES)
    assert_same(found, expected[0], rtol=1e-5)


def test_single_batches(model, expected):
    outputs, _ = expected
    for i in range(BATCHES):
        x, y = batch(i)
        part = {name: values[i * BATCH : (i + 1) * BATCH] for name, values in outputs.items()}
        assert_same(model.predict_on_batch(x), part, rtol=1e-5)
        assert_same({k: v.numpy() for k, v in model(x).items()}, part, rtol=1e-5)
        trained = model.train_on_batch(x, y, return_dict=True)
        tested = model.test_on_batch(x, y, return_dict=True)
        assert trained["loss"] == pytest.approx(tested["loss"], rel=1e-6)
        rmse = np.sqrt(np.mean((y["rating"].ravel() - part["rating"]) ** 2))
        assert tested["rating_rmse"] == pytest.approx(rmse, rel=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_generators_without_an_end_and_with_one(model, expected):
    _, loss = expected
    options = {"steps_per_epoch": BATCHES, "validation_steps": BATCHES, "verbose": 0}
    history = model.fit(
        batches(forever=True), validation_data=batches(list, forever=True), epochs=2, **options
    ).history
    assert history["loss"] + history["val_loss"] == pytest.approx([loss] * 4, rel=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Received: a generator that has end"):
        model.fit(batches(), epochs=2, verbose=0)


def test_a_share_of_a_table_to_validate_on(model):
    x, y = columns(), labels()
    history = model.fit(x, y, validation_split=0.5, verbose=0).history
    half = ROWS // 2
    rest = ({k: v[half:] for k, v in x.items()}, {k: v[half:] for k, v in y.items()})
    expected = model.evaluate(*rest, verbose=0, return_dict=True)["loss"]
    assert history["val_loss"] == pytest.approx([expected], rel=1e-5)


def test_data_that_are_refused(model):
    for call, words in (
        (lambda: model.fit([columns(), labels()]), "Expected a dict by column. Received: list"),
        (lambda: model.fit(batches(), labels()), "within the batches. Received: them beside x=gen"),
        (lambda: model.evaluate(batches(labelled=False)), "Expected batches of .* dict of 1"),
        (lambda: model.evaluate(iter([])), "at least one batch. Received: an empty list_iterator"),
        (lambda: model.fit(columns()), "Expected a dict by label. Received: NoneType"),
        (
            lambda: model.fit(columns(), labels(), class_weight={0: 2.0}),
            "for a single task of classes. Received: several tasks. Give sample_weight",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.warns(UserWarning, match="use_multiprocessing=True. Its batches are read by thr"):
        model.evaluate(Batches(use_multiprocessing=True), verbose=0)


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
        ({"clik": np.ones(4)}, "sample weights of the tasks click, rating. Received: 'clik'"),
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
        ({"loss_weights": {"clik": 1}}, "of the tasks click, rating. Received: 'clik'. Is it 'cli"),
        ({"loss_weights": {"click": -1}}, "at least 0. Received: loss_weights=-1 for task 'click'"),
        ({"loss_weights": {"click": NAN}}, "Received: loss_weights=nan for task 'click'"),
        ({"loss_weights": {"click": float("inf")}}, "Received: loss_weights=inf"),
        ({"loss_weights": {"click": "1"}}, "Received: loss_weights='1'"),
        ({"loss_weights": [1.0]}, r"loss_weights for 2 tasks, click, rating. .*\[1.0\]. Give a di"),
        ({"loss_weights": 2.0}, "loss_weights for 2 tasks"),
        ({"loss": {"clik": "mse"}}, "Expected loss of the tasks click, rating. Received: 'clik'"),
        ({"loss": {"click": "mse"}}, "without one for 'rating'. Give None"),
        ({"loss": {"click": None, "rating": None}}, "without one for any"),
        ({"metrics": {"buy": ["mae"]}}, "Expected metrics of the tasks .* Received: 'buy'"),
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
    with pytest.warns(UserWarning, match="vanishes beside theirs"):
        model = small([RegressionTask("rating")])
        model.compile("sgd", run_eagerly=True)
        model.fit(X, rating / 1e9, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small([BinaryTask("click"), RegressionTask("rating", mean=2e5, deviation=8e4)])
        model.compile("sgd", run_eagerly=True)
        model.fit(*data, verbose=0)


# === Saving and export ===


def test_export_and_what_compile_was_given_survive(model, tmp_path):
    model.compile("sgd", loss_weights={"click": 3.0}, metrics={"rating": ["mae"]})
    expected = model.predict(columns(), verbose=0)
    losses = model.evaluate(columns(), labels(), verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss_weights == {"click": 3.0, "rating": 1.0}
    assert again.evaluate(columns(), labels(), verbose=0, return_dict=True) == losses
    assert "rating_mae" in losses
    raw = {
        "age": tf.constant(columns()["age"], tf.float32),
        "user": tf.constant(columns()["user"], tf.int64),
        "tags": tf.ragged.constant(columns()["tags"]).to_tensor(""),
        "seen": tf.constant(columns()["seen"], tf.int64),
    }
    for i, exported in enumerate((model, again, model.core)):
        given = raw if exported is not model.core else model.encode(columns())
        exported.export(tmp_path / f"{i}", verbose=False)
        served = tf.saved_model.load(str(tmp_path / f"{i}"))
        answers = served.serve({name: tf.constant(x) for name, x in given.items()})
        assert_same(answers, expected, rtol=1e-5)
    archive = keras.export.ExportArchive()
    archive.track_and_add_endpoint("serve", again, input_signature=[again.input_specs()])
    archive.write_out(str(tmp_path / "archive"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "archive"))
    assert_same(served.serve(raw), expected, rtol=1e-5)
