"""Features: raw columns of every kind to numbers, adapted on a stream; what is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from layer_test import run_layer_test
from moe_zoo.models.recommender.features import (
    Buckets,
    Category,
    FeatureEncoder,
    Hashed,
    ListOf,
    Number,
)
from moe_zoo.models.recommender.features.pooled_embedding import PooledEmbedding

NAN = float("nan")
ROWS = 101


def table():
    """A column of each kind; `known` in the order of frequency, then of the alphabet."""
    rng = np.random.default_rng(0)
    words = rng.choice(
        ["pear", "fig", "kiwi", "zwetschge", "açaí"], ROWS, p=[0.4, 0.2, 0.2, 0.1, 0.1]
    )
    return {
        "number": rng.normal(3, 2, ROWS),
        "amount": rng.lognormal(size=ROWS),
        "bucket": rng.exponential(size=ROWS),
        "word": words,
        "id": rng.choice([2**60, 2**60 + 1, 7], ROWS),
        "user": rng.choice(["ann", "bob", "eve"], ROWS).astype(object),
        "tags": [list(words[: i % 4]) for i in range(ROWS)],
        "path": ["/".join(words[: i % 3]) for i in range(ROWS)],
        "items": rng.integers(-1, 50, (ROWS, 3)),
        "surplus": np.zeros(ROWS),
    }


def features():
    return {
        "number": Number(),
        "amount": Number(log1p=True),
        "bucket": Buckets(4),
        "word": Category(),
        "id": Category(),
        "user": Hashed(13),
        "tags": ListOf(Category()),
        "path": ListOf(Category(), separator="/"),
        "items": ListOf(Hashed(11)),
    }


def encoded(feature, values, adapt=None):
    """A feature's numbers for a column, adapted to it or to another one."""
    encoder = FeatureEncoder({"x": feature})
    if not encoder.adapted:
        encoder.adapt({"x": values if adapt is None else adapt})
    return encoder({"x": values})["x"].numpy().tolist()


# === What each makes of its values ===


def test_number_is_normalised_and_missing_is_the_mean():
    values = np.array([1.0, NAN, 5.0, np.inf, 6.0])
    known = np.array([1.0, 5.0, 6.0])
    expected = [(x - known.mean()) / known.std() if np.isfinite(x) else 0.0 for x in values]
    np.testing.assert_allclose(encoded(Number(), values), expected, rtol=1e-6)
    encoder = FeatureEncoder({"x": Number(mean=0.0, variance=1.0)})
    for shape in ([None], [3]):  # what a graph's optimizer could simplify
        graph = tf.function(lambda x: encoder({"x": x})["x"], [tf.TensorSpec(shape)])
        assert graph(tf.constant([NAN, np.inf, 2.0])).numpy().tolist() == [0.0, 0.0, 2.0]


def test_number_log1p_keeps_the_sign():
    values = np.array([-3.0, 0.0, 100.0])
    logs = np.sign(values) * np.log1p(np.abs(values))
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(encoded(Number(log1p=True), values), expected, rtol=1e-6)


def test_a_number_that_never_varied_does_not_explode():
    assert encoded(Number(), [0.3, 1.3], adapt=[0.3, 0.3, 0.3])[0] == pytest.approx(0, abs=1e-6)
    assert encoded(Number(), [0.3, 1.3], adapt=[0.3, 0.3, 0.3])[1] == pytest.approx(1, abs=1e-6)


def test_buckets_are_equally_filled():
    values = np.random.default_rng(1).exponential(size=10_000)
    indices = np.array(encoded(Buckets(5), values))
    assert set(indices) == {1, 2, 3, 4, 5}
    assert np.bincount(indices)[1:] == pytest.approx(2000, abs=50)
    assert np.corrcoef(np.argsort(np.argsort(values)), indices)[0, 1] > 0.95


def test_buckets_of_equal_quantiles_are_one():

    encoder = FeatureEncoder({"x": Buckets(10)})
    encoder.adapt({"x": [0.0] * 90 + [1.0] * 10})
    boundaries = encoder.features["x"].boundaries
    assert boundaries == sorted(set(boundaries))
    assert encoder({"x": [0.0, NAN, 1e9]})["x"].numpy()[1] == 0


@pytest.mark.parametrize("kind", [list, np.array, lambda x: np.array(x, object), tf.constant])
def test_category_of_strings(kind):
    values = kind(["b", "a", "b", "c", "", "é"])
    # b is the most frequent; a, c and é follow in their order
    assert encoded(Category(), values) == [2, 3, 2, 4, 0, 5]
    assert encoded(Category(vocabulary=["a", "b"]), values) == [3, 2, 3, 1, 0, 1]


def test_category_of_large_whole_numbers():
    values = [2**60, 2**60 + 1, -1, 5]  # a float64 could not tell the first two
    assert encoded(Category(vocabulary=[2**60 + 1, 5]), np.array(values)) == [1, 2, 0, 3]
    assert encoded(Category(vocabulary=[7, 5]), np.array([5.0, NAN])) == [3, 0]
    assert encoded(Category(), [None, 5, 5, 6]) == [0, 2, 2, 3]
    assert encoded(Category(vocabulary=[0, 1], missing=9), [True, False]) == [3, 2]


def test_a_category_is_no_fraction():
    feature = Category(vocabulary=[0, 1])
    assert encoded(feature, [0.0, NAN, 1.0]) == [2, 0, 3]
    for make in (lambda: encoded(feature, [0.0, 0.7]), lambda: encoded(Hashed(9), [NAN, 0.7])):
        with pytest.raises(ValueError, match="Expected whole numbers in column 'x'. Received: 0.7"):
            make()


def test_a_column_without_any_value():
    assert encoded(Category(vocabulary=["a"]), [None, None]) == [0, 0]
    assert encoded(Category(vocabulary=[3]), [None]) == [0]
    assert encoded(Number(mean=1.0, variance=1.0), [None]) == [0.0]


def test_category_limits():
    values = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"]
    assert encoded(Category(max_size=2), ["a", "b", "c"], values) == [2, 3, 1]
    assert encoded(Category(min_count=2), ["a", "c", "d"], values) == [2, 4, 1]
    assert encoded(Category(missing="?"), ["?", "", "a"], ["a", "?"]) == [0, 1, 2]


def test_hashed():
    values = np.array([2**60, 3, -1, 3])
    indices = encoded(Hashed(50), values)
    assert indices[1] == indices[3] and indices[2] == 0
    assert all(1 <= i < 50 for i in (indices[0], indices[1]))
    assert encoded(Hashed(50, dtype="string"), ["", "x"])[0] == 0
    many = encoded(Hashed(50), np.arange(2000))
    assert set(many) == set(range(1, 50))


@pytest.mark.parametrize(
    "rows",
    [
        [["a", "b"], [], ["c"]],
        np.array([["a", "b"], ["", ""], ["c", ""]]),
        np.array([["a", "b"], [None, None], ["c", None]], object),
        [["a", "b"], None, np.array(["c"])],
        tf.ragged.constant([["a", "b"], [], ["c"]]),
    ],
)
def test_list_of(rows):
    assert encoded(ListOf(Category()), rows) == [[2, 3], [0, 0], [4, 0]]


def test_list_with_separator_and_of_numbers():
    feature = ListOf(Category(), separator="|")
    assert encoded(feature, ["a|b", "", "c"]) == [[2, 3], [0, 0], [4, 0]]
    assert encoded(feature, [["a", "b"], []]) == [[2, 3], [0, 0]]  # lists are welcome still
    feature = ListOf(Buckets(2, boundaries=[5.0]))
    assert encoded(feature, [[1.0, 9.0], [NAN, 9.0]]) == [[1, 2], [0, 2]]
    feature = ListOf(Hashed(7, dtype="int64"))
    assert encoded(feature, [[], []]) == [[], []]


@pytest.mark.parametrize("pooling", ["mean", "sum", "max"])
def test_pooled_embedding_against_a_loop(pooling):
    layer = PooledEmbedding(7, 3, pooling)
    indices = tf.constant([[4, 2, 0, 4], [0, 0, 0, 0], [6, 0, 0, 0]])
    with tf.GradientTape() as tape:
        outputs = layer(indices)
        total = tf.reduce_sum(outputs**2)
    table, expected = layer.embeddings.numpy(), []
    for row in indices.numpy():
        rows = np.array([table[i] for i in row if i])
        reduce = {"mean": np.mean, "sum": np.sum, "max": np.max}[pooling]
        expected.append(reduce(rows, 0) if len(rows) else np.zeros(3))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-7)
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.embeddings.value)).numpy()
    assert not gradient[[0, 1, 3, 5]].any() and gradient[6].any()
    assert np.isfinite(gradient).all()


def test_padding_does_not_count():
    layer = PooledEmbedding(7, 3)
    short, long = tf.constant([[4, 2]]), tf.constant([[0, 4, 0, 2, 0, 0]])
    np.testing.assert_allclose(layer(short), layer(long), rtol=1e-6)


def test_pooled_embedding_as_a_keras_layer():
    run_layer_test(
        PooledEmbedding,
        {"input_dim": 7, "output_dim": 3, "pooling": "mean"},
        input_data=np.array([[1, 2, 0], [3, 0, 0]]),
        expected_output_shape=(2, 3),
        run_training_check=False,
    )


# === Adapting ===


def test_a_stream_gives_what_the_whole_table_gives():
    whole, streamed, labelled = (FeatureEncoder(features()) for _ in range(3))
    columns = table()
    whole.adapt(columns)
    columns["tags"] = tf.ragged.constant(columns["tags"])
    dataset = tf.data.Dataset.from_tensor_slices(columns).batch(7)
    streamed.adapt(dataset)
    labelled.adapt((batch, {"y": 0}) for batch in dataset)
    for encoder in (streamed, labelled):
        for name, feature in encoder.features.items():
            expected = whole.features[name].get_config()
            if name == "bucket":  # quantiles of merged summaries
                np.testing.assert_allclose(feature.boundaries, expected["boundaries"], rtol=0.1)
            elif isinstance(feature, Number):
                assert feature.mean == pytest.approx(expected["mean"], rel=1e-12)
                assert feature.variance == pytest.approx(expected["variance"], rel=1e-12)
            else:
                assert feature.get_config() == expected


def test_only_so_many_steps_are_read():
    endless = tf.data.Dataset.from_tensors({"x": tf.constant([1.0, 3.0])}).repeat()
    encoder = FeatureEncoder({"x": Number()})
    with pytest.raises(ValueError, match="a dataset that repeats for ever. Give steps="):
        encoder.adapt(endless)
    encoder.adapt(endless, steps=2)
    assert encoder.features["x"].mean == 2.0


def test_descriptions_are_copied_and_survive_json():
    described = features()
    encoder = FeatureEncoder(described)
    encoder.adapt(table())
    assert not described["number"].adapted and not described["tags"].adapted
    expected = encoder(table())
    config = keras.saving.serialize_keras_object(encoder.features)
    again = FeatureEncoder(keras.saving.deserialize_keras_object(json.loads(json.dumps(config))))
    assert again.adapted
    for name, values in again(table()).items():
        np.testing.assert_array_equal(values, expected[name])


def test_encoding_within_a_graph_and_a_pipeline():
    encoder = FeatureEncoder(features())
    columns = table()
    encoder.adapt(columns)
    expected = encoder(columns)
    columns["tags"] = tf.ragged.constant(columns["tags"])
    del columns["surplus"]
    dataset = tf.data.Dataset.from_tensor_slices(columns).batch(ROWS).map(encoder)
    for name, values in next(iter(dataset)).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4)
        assert values.dtype == encoder.encoded_specs()[name].dtype


def test_what_a_feature_says_of_itself():
    assert repr(Hashed(5, missing="?")) == "Hashed(num_bins=5, embedding_dim=8, missing='?')"
    assert repr(ListOf(Buckets(3))).startswith("ListOf(feature=Buckets(num_buckets=3")


# === Errors ===


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Number(mean=1.0), "Received: mean=1.0, variance=None. A variance is at least 0"),
        (lambda: Number(mean=1.0, variance=-1.0), "variance=-1.0"),
        (lambda: Buckets(1), "at least 2. Received: num_buckets=1"),
        (lambda: Buckets(3, boundaries=[2.0, 1.0]), "Expected boundaries that ascend"),
        (lambda: Category(embedding_dim=0), "Received: embedding_dim=0"),
        (lambda: Category(vocabulary=[]), "Expected a vocabulary of strings or of whole numbers"),
        (lambda: Category(vocabulary="abc"), "or of whole .* Received: vocabulary='abc'"),
        (lambda: Category(vocabulary={"a"}), "or of whole .* Received: vocabulary={'a'}"),
        (lambda: Category(vocabulary=["a", 1]), r"Received: vocabulary=\['a', 1\]"),
        (lambda: Category(vocabulary=[0.5]), "Received: vocabulary"),
        (lambda: Category(vocabulary=["a", "a"]), "Received: 'a' twice. Take it out"),
        (lambda: Category(vocabulary=["a", ""]), r"missing value \(''\). Received: '' in it"),
        (lambda: Hashed(1), "Received: num_bins=1"),
        (lambda: Hashed(5, dtype="float32"), "Expected one of string, int64. Received: dtype="),
        (lambda: ListOf(Number()), "with an embedding, such as .* Received: feature=Number"),
        (lambda: ListOf(Category(), "median"), "one of mean, sum, max. Received: pooling='median'"),
        (lambda: FeatureEncoder({}), "Expected at least one feature, .* Received: none"),
        (lambda: FeatureEncoder([("a", Number()), ("a", Number())]), "Received: 'a' twice"),
        (lambda: FeatureEncoder({"a": "number"}), "Received: 'a': 'number'. Describe the column"),
    ],
)
def test_descriptions_that_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"agee": [1.0], "job": ["a"]},
            "Expected a column 'age'. Received: agee, job. Did you mean 'agee'",
        ),
        ({"x": [1.0], "job": ["a"]}, "Expected a column 'age'. Received: x, job. Check"),
        ([1.0], "Expected a dict by column. Received: list. Its keys are the names: age, job"),
        (
            {"age": ["x"], "job": ["a"]},
            "Expected numbers in column 'age', .* dtype=string. Convert",
        ),
        (
            {"age": [1.0], "job": [3]},
            "Expected strings in column 'job', .* dtype=int64. Convert it",
        ),
        ({"age": [[1.0, 2.0]], "job": ["a"]}, r"one value in each row of column 'age'. .*ListOf"),
        ({"age": [1.0], "job": [["a"], ["b", "c"]]}, "one value in each row of column 'job'"),
        ({"age": [1.0, "a"], "job": ["a", "b"]}, "Received: values of the types float, str"),
        ({"age": np.array([1j]), "job": ["a"]}, "column 'age' .* Received: dtype=complex128"),
    ],
)
def test_columns_that_are_refused(columns, words):
    encoder = FeatureEncoder(
        {"age": Number(mean=0.0, variance=1.0), "job": Category(vocabulary=["a"])}
    )
    with pytest.raises(ValueError, match=words):
        encoder(columns)


def test_a_column_of_lists_is_asked_for():
    encoder = FeatureEncoder({"tags": ListOf(Category(vocabulary=["a"]))})
    with pytest.raises(ValueError, match=r"a list in each row .*shape=\(1,\). Give lists of any"):
        encoder({"tags": ["a"]})


def test_use_before_adapting():
    encoder = FeatureEncoder({"age": Number(), "job": Category(vocabulary=["a"])})
    with pytest.raises(ValueError, match=r"Received: 'age', which are not. Call adapt\(data\)"):
        encoder({"age": [1.0], "job": ["a"]})


def test_data_to_which_nothing_can_be_adapted():
    encoder = FeatureEncoder({"age": Number()})
    with pytest.raises(ValueError, match="Expected values in column 'age' .* Received: none"):
        encoder.adapt({"age": [NAN, NAN]})
    with pytest.raises(ValueError, match="Received: none"):
        encoder.adapt([])
    with pytest.raises(ValueError, match="Expected a column 'age'"):
        encoder.adapt({"Age_": [1.0]})
    rare = FeatureEncoder({"job": Category(min_count=3)})
    with pytest.raises(ValueError, match="min_count=3, where the most frequent one occurs 2 times"):
        rare.adapt({"job": ["a", "a", "b"]})
    encoder.adapt({"age": [1.0]})
    with pytest.raises(ValueError, match="Received: all are. Make a new model"):
        encoder.adapt({"age": [1.0]})
