"""What was trained on is what is served: rows of a training file, as they stand in it."""

import csv
import datetime
import decimal

import numpy as np
import pytest
import tensorflow as tf

from moe_zoo.training.recipes.recommender.model import adapt, make_recommender
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.tables.table_data import read_table_data
from moe_zoo.training.tables.table_settings import TableSettings

TASKS = {"click": "binary"}
MISSING = {tf.string: "", tf.int64: -1, tf.float32: float("nan")}
COUNT = 7  # rows
LARGE = 2**53 + 1  # the first whole number that float64 does not have


def served_and_trained(path, features, folder, rows):
    """What the SavedModel gives for rows, and the core for what training reads of them.

    Args:
        path: the file.
        features: their settings.
        folder: for the SavedModel.
        rows: function from the SavedModel's `dict` of `TensorSpec` to columns.
    """
    data = read_table_data(path, TableSettings(TASKS, features, shares={"train": 1.0}), say=str)
    settings = RecommenderSettings(num_experts=2, expert_units="3", tower_units="2")
    encoder, tasks = adapt(data, settings)
    model = make_recommender("shared_bottom", settings, encoder, tasks, seed=0)
    for layer in model.core.embeddings.values():  # so that every row of a table shows
        for weight in layer.weights:
            weight.assign(tf.random.stateless_normal(weight.shape, [1, 2]))
    model.export(folder)
    served = tf.saved_model.load(folder).signatures["serving_default"]
    specs = served.structured_input_signature[1]
    trained = model.core(encoder.encode_all(data.whole("train").features))["click"]
    assert len(set(trained.numpy().round(5).tolist())) > 1
    return served(**rows(specs))["click"].numpy(), trained.numpy()


def plain(values, spec):
    """The Python values of a column, missing ones as the model's, lists padded with those."""
    if spec.shape.rank == 2:
        width = max(len(value or ()) for value in values)
        return [
            [*(value or ()), *[MISSING[spec.dtype]] * (width - len(value or ()))]
            for value in values
        ]
    return [MISSING[spec.dtype] if value is None else value for value in values]


class TestParquet:
    @pytest.fixture
    def arrow(self):
        return pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")

    def write(self, arrow, folder, columns):
        from pyarrow import parquet

        parquet.write_table(arrow.table(columns), folder / "t.parquet")
        return folder / "t.parquet"

    def test_rows_of_the_file_are_served_as_they_are(self, arrow, tmp_path):
        numbers, words = [5, 3, None, 5, 2, 3, 5], ["b", "a", None, "b", "é", "", "b"]
        lists = [[5, 3], [], None, [2], [3, 3, 5], [7], [5]]
        dictionary = arrow.dictionary(arrow.int8(), arrow.string())
        kinds = ("int32", "int64", "uint8", "uint64")
        types = {kind: getattr(arrow, kind)() for kind in kinds}
        texts = {"string": arrow.string(), "large_string": arrow.large_string()}
        texts |= {"binary": arrow.binary(), "dictionary": dictionary}
        columns = {f"{kind}_id": arrow.array(numbers, held) for kind, held in types.items()}
        columns |= {f"{kind}_id": arrow.array(words).cast(held) for kind, held in texts.items()}
        columns["bool_id"] = arrow.array([True, None, False, True, True, False, True])
        columns["large_id"] = arrow.array([LARGE, LARGE - 1, None, LARGE, -7, 0, LARGE])
        columns["int64_hash"] = columns["large_id"]
        columns["string_hash"] = columns["string_id"]
        columns["int64_list"] = arrow.array(lists)
        columns["int32_list"] = arrow.array(lists, arrow.large_list(arrow.int32()))
        texts_of_lists = [value and [f"w{entry}" for entry in value] for value in lists]
        columns["string_list"] = arrow.array(texts_of_lists)
        columns["dictionary_list"] = arrow.array(texts_of_lists, arrow.list_(dictionary))
        columns["fixed_list"] = arrow.array(
            [[1, 2]] * 3 + [[3, 4]] * 4, arrow.list_(arrow.int64(), 2)
        )
        columns["joined_list"] = arrow.array(["a|b", "", None, " b | a", "a||", "c", "b"])
        columns["float64_number"] = arrow.array([0.5, None, -2.0, 1.0, 2.0, 3.0, 4.0])
        columns["float32_number"] = arrow.array([0.5] * 3 + [2.5] * 4, arrow.float32())
        columns["int32_number"] = arrow.array(numbers, arrow.int32())
        columns["bool_number"] = columns["bool_id"]
        columns["decimal_number"] = arrow.array(
            [decimal.Decimal("1.25")] * 6 + [decimal.Decimal(3)]
        )
        columns["float64_buckets"] = columns["float64_number"]
        suffixes = {"id": "category", "hash": "hashed", "list": "list", "number": "number"}
        features = {
            name: {"kind": suffixes.get(name.split("_")[-1], "buckets")} for name in columns
        }
        features["int32_list"] = {"kind": "list", "of": "hashed", "num_bins": 11}
        features["int64_hash"] = features["string_hash"] = {"kind": "hashed", "num_bins": 11}
        file = self.write(arrow, tmp_path, {**columns, "click": [0.0, 1.0] * 3 + [None]})

        from pyarrow import parquet

        def rows(specs):
            table = parquet.read_table(file)
            assert specs["int64_id"].dtype == tf.int64 and specs["string_id"].dtype == tf.string
            assert specs["int64_list"].shape.rank == 2 and specs["joined_list"].shape.rank == 1
            return {
                name: tf.constant(plain(table[name].to_pylist(), spec), spec.dtype)
                if name != "decimal_number"  # TensorFlow knows no decimals
                else tf.constant(np.array(table[name].to_pylist(), "float32"))
                for name, spec in specs.items()
            }

        served, trained = served_and_trained(file, features, tmp_path / "served", rows)
        np.testing.assert_allclose(served, trained, rtol=1e-6)

    @pytest.mark.parametrize(
        ("kind", "values", "words"),
        [
            ("category", [0.5] * 3, "texts or whole numbers in column 'x'.*type double. Write ids"),
            ("hashed", [1.0, None, 2.0], "type double. Write ids as int64, which may be null"),
            ("list", [[0.5]] * 3, "type list<.*double>. Write ids"),
            ("list", [1, 2, 3], "lists, or texts with a separator, in column 'x'.*type int64"),
            ("list", [[[1]]] * 3, "texts, numbers or lists of them in column 'x'.*type list"),
            ("number", [[1]] * 3, "one value a row in column 'x'.*type list<.*kind `list`"),
            ("category", [datetime.date(2000, 1, 1)] * 3, "type date32.*Write it as text or num"),
            ("number", [datetime.datetime(2000, 1, 1)] * 3, "type timestamp.*leave it out"),
            ("category", [{"a": 1}] * 3, "type struct<a: int64>. Write it as text"),
        ],
    )
    def test_types_that_are_refused(self, arrow, tmp_path, kind, values, words):
        path = self.write(arrow, tmp_path, {"x": arrow.array(values), "click": [0, 1, 0]})
        with pytest.raises(ValueError, match=words):
            read_table_data(path, TableSettings(TASKS, {"x": kind}))

    @pytest.mark.parametrize(
        ("kind", "values", "words"),
        [
            (
                "category",
                [1, 2**63],
                "whole numbers below 2\\^63.*value=9223372036854775808.*row 2",
            ),
            ("list", [[1], [2, 2**63]], r"below 2\^63.*value=\[2, 9223372036854775808\].*row 2"),
        ],
    )
    def test_ids_too_large(self, arrow, tmp_path, kind, values, words):
        held = arrow.list_(arrow.uint64()) if kind == "list" else arrow.uint64()
        path = self.write(arrow, tmp_path, {"x": arrow.array(values, held), "click": [0, 1]})
        with pytest.raises(ValueError, match=words):
            _ = read_table_data(path, TableSettings(TASKS, {"x": kind})).rows

    def test_files_of_other_types(self, arrow, tmp_path):
        for name, values in (
            ("a", [1, 2]),
            ("d", [0.5, 1]),
            ("b", [None, None]),
            ("c", ["1", "2"]),
        ):
            (tmp_path / name).mkdir()
            self.write(arrow, tmp_path / name, {"x": arrow.array(values), "click": [0, 1]})
        a, b, c, d = (tmp_path / name / "t.parquet" for name in "abcd")
        settings = TableSettings(TASKS, {"x": "category"}, shares={"train": 1.0})
        data = read_table_data([b, a], settings)
        held = data.whole("train").features["x"]
        assert held.tolist() == [-1, -1, 1, 2] and held.dtype == np.int64
        streamed = [x["x"] for x, _ in data.dataset("train", 3)]
        assert streamed[0].dtype == tf.int64 and tf.concat(streamed, 0).numpy().tolist() == [
            -1,
            -1,
            1,
            2,
        ]
        with pytest.raises(
            ValueError, match="type of values in column .x..*int64, and string in .*c/t.pa"
        ):
            read_table_data([a, c], settings)
        with pytest.raises(ValueError, match="Expected texts or whole numbers.*type double"):
            read_table_data([a, d], settings)
        numbers = read_table_data(
            [a, d], TableSettings(TASKS, {"x": "number"}, shares={"train": 1.0})
        )
        assert numbers.whole("train").features["x"].tolist() == [1, 2, 0.5, 1]
        with pytest.raises(ValueError, match="files of all parts.*feature 'x' as WholeColumn"):
            read_table_data(a, settings, part_paths={"test": c})

    def test_kinds_follow_types(self, arrow, tmp_path):
        columns = {
            "number": [1, 2, None],
            "flag": [True, False, None],
            "digits": ["1", "2", "3"],
            "ids": [[1], [], None],
            "vector": [[0.5], [1.0], [2.0]],
            "day": [datetime.date(2000, 1, 1)] * 3,
            "empty": arrow.array([None] * 3, arrow.float64()),
        }
        path = self.write(arrow, tmp_path, {**columns, "click": [0, 1, 0]})
        said: list[str] = []
        data = read_table_data(path, TableSettings(TASKS), say=said.append)
        kinds = {name: feature["kind"] for name, feature in data.features.items()}
        assert kinds == {
            **{"number": "number", "flag": "category", "digits": "category", "ids": "list"}
        }
        assert (
            "; left out: vector (list<" in said[0] and "day (date32[day]), empty (no v" in said[0]
        )


def test_rows_of_a_csv_file_are_served_as_they_are(tmp_path):
    header = ["age", "user", "genres", "tags", "click"]
    lines = [
        ["3.5", "007", "a|b", "x; y", "0"],
        ["", "", "", "", "1"],
        ["-1", "8", "b", ";x;", "1"],
    ]
    lines += [["2", "7", " c | a ", "\tx", "0"]]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines])

    def rows(specs):
        with (tmp_path / "t.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert {spec.shape.rank for spec in specs.values()} == {1}
        columns = {name: [row[name] for row in read] for name in specs}
        columns["age"] = [float(value or "nan") for value in columns["age"]]
        return {name: tf.constant(values, specs[name].dtype) for name, values in columns.items()}

    features = {"age": "number", "user": "category", "genres": "list"}
    features["tags"] = {"kind": "list", "separator": ";", "of": "hashed", "num_bins": 5}
    served, trained = served_and_trained(tmp_path / "t.csv", features, tmp_path / "served", rows)
    np.testing.assert_allclose(served, trained, rtol=1e-6)
