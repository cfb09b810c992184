"""Raw values of every kind in a column: pandas, large ids, what is missing, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.layers import SharedBottom
from moe_zoo.models import MultiTaskRecommender
from moe_zoo.models.recommender.features import Category, FeatureEncoder, Hashed, ListOf, Number
from moe_zoo.models.recommender.tasks import BinaryTask

NAN = float("nan")
BIG = 2**60  # a float64 cannot tell it from its neighbors


def encoder_of(feature, adapt):
    encoder = FeatureEncoder({"x": feature})
    encoder.adapt({"x": adapt})
    return encoder


def encoded(feature, values):
    return encoder_of(feature, values)({"x": values})["x"].numpy().tolist()


# === Whole numbers ===


@pytest.mark.parametrize(
    "values",
    [
        np.array([BIG, BIG + 1, BIG], np.int64),
        np.array([BIG, BIG + 1, BIG], np.uint64),
        [BIG, BIG + 1, BIG],
        np.array([BIG, BIG + 1, BIG], object),
        tf.constant([BIG, BIG + 1, BIG], tf.uint64),
    ],
    ids=["int64", "uint64", "list", "objects", "tensor"],
)
def test_large_ids_stay_apart(values):
    assert encoded(Category(), values) == [2, 3, 2]


def test_large_ids_beside_missing_ones():
    assert encoded(Category(), [BIG, None, BIG + 1, BIG]) == [2, 0, 3, 2]
    assert encoded(Category(missing=7), [BIG, None, 7, BIG]) == [2, 0, 0, 2]
    assert encoded(ListOf(Category()), [[BIG, BIG + 1], [None, BIG]]) == [[2, 3], [0, 2]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([1, 2**63 + 5], np.uint64), "below 2.63 in column 'x'. Received: 9223372036854"),
        ([1, 2**63 + 5], "Received: 9223372036854775813. Give such ids as strings"),
        (tf.constant([1, 2**64 - 1], tf.uint64), "Received: 18446744073709551615"),
        ([1, 2**64], "whole numbers below 9007199254740992, .* Received: 1.8446744073709552e.19"),
        (
            [2.0**53, NAN],
            "above which float64 leaves some out, in column 'x'. Received: 90071992547",
        ),
        (np.array([2.0**24], "float32"), "float32 leaves some out, .* Received: 16777216.0. Read"),
        ([1.0, np.inf], "Received: inf"),
        ([1.5, NAN], "Expected whole numbers in column 'x'. Received: 1.5"),
    ],
)
@pytest.mark.parametrize("make", [Category, lambda: Hashed(7)], ids=["Category", "Hashed"])
def test_ids_that_a_number_cannot_hold(values, words, make):
    with pytest.raises(ValueError, match=words):
        encoded(make(), values)
    graph = tf.function(encoder_of(make(), [3, 4]))
    column = np.asarray(values)
    column = tf.constant(column.astype("float64") if column.dtype == object else column)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected whole numbers"):
        graph({"x": column})


def test_numbers_may_be_large():
    for values in (np.array([0, 2**63], np.uint64), [0, 2**63]):
        assert encoded(Number(), values) == [-1.0, 1.0]


@pytest.mark.parametrize("values", [[True, False, True], tf.constant([True, False, True])])
def test_truth_values_are_0_and_1(values):
    encoder = encoder_of(Category(), values)
    assert encoder.features["x"].vocabulary == [1, 0]
    assert encoder({"x": values})["x"].numpy().tolist() == [2, 3, 2]
    assert encoder.features["x"].copy().vocabulary == [1, 0]  # a saved model can be loaded


def test_negative_ids_are_ids():
    # -1 stands for a missing one, unless it is told otherwise
    assert encoded(Category(), [-5, -1, -5, 3]) == [2, 0, 2, 3]
    assert encoded(Category(missing=0), [-5, -1, -5, 0]) == [2, 3, 2, 0]


# === Text ===


def test_bytes_are_text():
    assert encoded(Category(), [b"a", "b", b"b"]) == [3, 2, 2]
    with pytest.raises(
        ValueError, match=r"text in UTF-8 in column 'x'. Received: b'\\xff'. Decode"
    ):
        encoded(Hashed(9), [b"a", b"\xff"])
    with pytest.raises(ValueError, match="text in column 'x' that UTF-8 can hold"):
        encoded(Category(), ["\ud800"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", 1], "Received: values of the types int, str"),
        ([["a"], "b"], "a list in each row of column 'x'. Received: 'b' among lists"),
        (np.array(["2024-01-01"], "datetime64[s]"), "dtype=datetime64.*numbers of seconds"),
        ([{"a": 1}], "values of the types dict"),
    ],
)
def test_values_that_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        encoded(Category(), values)


def test_missing_has_the_type_of_the_column():
    with pytest.raises(ValueError, match=r"`missing` of column 'x' .* missing='\?' in a column of"):
        encoded(Category(missing="?"), [1, 2])


# === Adapting ===


def test_batches_of_two_types_are_refused_and_leave_no_trace():
    encoder = FeatureEncoder({"x": Category(), "n": Number()})
    batches = [{"x": [None], "n": [1.0]}, {"x": ["a"], "n": [3.0]}, {"x": [3], "n": [5.0]}]
    with pytest.raises(ValueError, match="Expected strings in column 'x', as in training"):
        encoder.adapt(batches)
    encoder.adapt(batches[:2])
    assert encoder.features["x"].vocabulary == ["a"]
    assert (encoder.features["n"].mean, encoder.features["n"].variance) == (2.0, 1.0)


def test_columns_of_different_lengths_are_refused():
    encoder = encoder_of(Number(), [1.0, 3.0])
    again = FeatureEncoder({"x": encoder.features["x"], "n": Number(mean=0.0, variance=1.0)})
    with pytest.raises(ValueError, match=r"one length. Received: .'n': 2, 'x': 3."):
        again.encode_all({"x": [1.0, 2.0, 3.0], "n": [1.0, 2.0]})


def test_one_feature_object_for_two_columns():
    item = Category()
    for other in (item, ListOf(item)):
        with pytest.raises(ValueError, match="of its own for each .* for 'item' and 'history'"):
            FeatureEncoder({"item": item, "history": other})
    tags = ListOf(Category())
    with pytest.raises(ValueError, match="for 'a' and 'b'"):
        MultiTaskRecommender({"a": tags, "b": tags}, [BinaryTask("c")], SharedBottom((4,)))
    FeatureEncoder({"item": item, "history": ListOf(item.copy())})
    FeatureEncoder({"item": item})  # another model may take it


# === pandas ===


def test_columns_of_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "Int64": pd.array([BIG, None, BIG + 1], "Int64"),
            "int": [BIG, BIG + 1, BIG],
            "Float64": pd.array([1.0, None, 3.0], "Float64"),
            "boolean": pd.array([True, None, False], "boolean"),
            "string": pd.array(["a", None, "b"], "string"),
            "objects": pd.Series(["a", pd.NA, "b"], dtype=object),
            "category": pd.Categorical(["a", None, "b"]),
            "codes": pd.Categorical([5, None, 7]),
            "lists": pd.Series([["a", "b"], None, []]),
            "time": pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
        }
    )
    kinds = {"Float64": Number(), "lists": ListOf(Category())}
    names = [name for name in frame.columns if name != "time"]
    encoder = FeatureEncoder({name: kinds.get(name, Category()) for name in names})
    encoder.adapt(frame)
    values = {name: x.numpy().tolist() for name, x in encoder(frame).items()}
    assert values == {
        "Int64": [2, 0, 3],
        "int": [2, 3, 2],
        "Float64": [-1.0, 0.0, 1.0],
        "boolean": [3, 0, 2],  # False comes before True where both are as frequent
        **dict.fromkeys(("string", "objects", "category", "codes"), [2, 0, 3]),
        "lists": [[2, 3], [0, 0], [0, 0]],
    }
    assert encoder.features["Int64"].vocabulary == [BIG, BIG + 1]
    with pytest.raises(ValueError, match="column 'time' .* dtype=datetime64.*numbers of seconds"):
        FeatureEncoder({"time": Number()}).adapt(frame)
    indices = encoder(frame.iloc[1:])["codes"]  # an index of its own
    assert keras.ops.convert_to_numpy(indices).tolist() == [0, 3]
