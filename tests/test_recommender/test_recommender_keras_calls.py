"""Keras' own calls of a recommender: data of every kind, losses and weights by task, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Category, Hashed, ListOf, Number
from moe_zoo.models.recommender.tasks import BinaryTask, RegressionTask
from small_recommender import NAN, assert_same

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
    model = MultiTaskRecommender(features, tasks, SharedBottom((5,)), unseen_rate=0.0)
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
            SharedBottom((5,)),
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
        (lambda: model.fit(batches(), labels()), "within the batches. Received: them next to x="),
        (lambda: model.evaluate(batches(labelled=False)), "Expected batches of .* dict of 1"),
        (lambda: model.evaluate(iter([])), "at least one batch. Received: an empty list_iterator"),
        (lambda: model.fit(columns()), "Expected a dict by label. Received: NoneType"),
        (
            lambda: model.fit(columns(), labels(), class_weight={0: 2.0}),
            "for a single task of classes. Received: several tasks. Give sample_weight",
        ),
        (
            lambda: model.predict({**columns(), "age": [4.0, 5.0]}),
            "Expected 2 values in 'user', as in 'age'. Received: 14. Give one for each row",
        ),
        (
            lambda: model.evaluate(iter([(columns(), {**labels(), "rating": [1.0]})])),
            "Expected 14 values in 'rating', as in 'age'. Received: 1. Give one for each row",
        ),
        (
            lambda: model.evaluate(columns(), labels(), sample_weight=[1.0]),
            "Expected 14 values in 'click', as in 'age'. Received: 1. Give one for each row",
        ),
        (
            lambda: model.evaluate(columns(), {**labels(), "rating": {"a": 1.0}}),
            "Expected a value in each row of column 'rating'. Received: {'a': 1.0}. Give a list",
        ),
        (
            lambda: model.evaluate(columns(), {**labels(), "click": tf.ragged.constant([[1.0]])}),
            r"one label in each row for task 'click': .* Received: shape=\(1, None\)",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.warns(UserWarning, match="use_multiprocessing=True. Its batches are read by thr"):
        model.evaluate(Batches(use_multiprocessing=True), verbose=0)


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
