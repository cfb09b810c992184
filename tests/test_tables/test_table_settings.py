"""A user's own table: what settings say, what is inferred, and what each error says."""

import sys

import numpy as np
import pytest

from moe_zoo.models.recommender.features import (
    Buckets,
    Category,
    Hashed,
    ListOf,
    Number,
    make_feature,
)
from moe_zoo.training.tables.column_settings import FEATURE_KINDS, feature_settings, task_settings
from moe_zoo.training.tables.columns import BadValue
from moe_zoo.training.tables.csv_table import read_csv
from moe_zoo.training.tables.infer_kinds import infer_kinds
from moe_zoo.training.tables.table_data import read_table_data
from moe_zoo.training.tables.table_settings import TableSettings, parse_settings, read_settings

SETTINGS = """
features:
  age: number
  hours: {kind: buckets, num_buckets: 4}
  user: {kind: hashed, column: user id, num_bins: 100, embedding_dim: 4}
  genres: {kind: list, separator: ";", of: hashed, num_bins: 9, pooling: sum}
tasks:
  like: {kind: binary, column: stars, at_least: 4}
  stars: {kind: regression, minimum: 1, maximum: 5, weight: 0.5}
  mood: {kind: classes, classes: [sad, 2, glad]}
  click: {kind: binary, positive: ["True", maybe]}
format: {missing: ["NA"], strip: true}
shares: {train: 0.5, validation: 0.25, test: 0.25}
"""
ROWS = """age,hours,user id,genres,stars,mood,click,more
37,40,u1,a;b,4,sad,True,x
NA,20,u2,,3.5,glad,maybe,x
5,NA, u1 ,b,NA,2,no,x
6,1,u3,c,5,NA,NA,x
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text(ROWS)
    return path


@pytest.fixture
def settings(tmp_path):
    pytest.importorskip("yaml", reason="settings in a file need PyYAML")
    path = tmp_path / "films.yaml"
    path.write_text(SETTINGS)
    return path


def rows_of(data):
    held = [data.whole(part) for part in data.parts if data.rows[part]]
    return [
        {name: np.concatenate([rows[i][name] for rows in held]) for name in held[0][i]}
        for i in (0, 1)
    ]


class TestSettings:
    def test_a_file_says_what_a_table_holds(self, table, settings):
        read = read_settings(settings)
        read = TableSettings(read.tasks, read.features, read.format, {"train": 1.0})
        data = read_table_data(table, read)
        assert data.features == {
            "age": {"kind": "number"},
            "hours": {"kind": "buckets", "num_buckets": 4},
            "user": {"kind": "hashed", "num_bins": 100, "embedding_dim": 4},
            "genres": {
                "kind": "list",
                "feature": {"kind": "hashed", "num_bins": 9},
                "pooling": "sum",
                "separator": ";",
            },
        }
        assert data.tasks == {
            "like": {"kind": "binary"},
            "stars": {"kind": "regression", "weight": 0.5},
            "mood": {"kind": "classes", "classes": ["sad", "2", "glad"]},
            "click": {"kind": "binary"},
        }
        features, labels = data.whole("train")
        nan = np.nan
        np.testing.assert_array_equal(features["age"], [37, nan, 5, 6])
        np.testing.assert_array_equal(features["hours"], [40, 20, nan, 1])
        assert features["user"].tolist() == ["u1", "u2", "u1", "u3"]
        assert features["genres"].tolist() == [["a", "b"], ["", ""], ["b", ""], ["c", ""]]
        np.testing.assert_array_equal(labels["like"], [1, 0, nan, 1])
        np.testing.assert_array_equal(labels["stars"], [4, 3.5, nan, 5])
        np.testing.assert_array_equal(labels["mood"], [0, 2, 1, nan])
        np.testing.assert_array_equal(labels["click"], [1, 1, 0, nan])

    def test_the_command_line_says_the_same(self):
        parsed = parse_settings(
            ["age:number", "user:hashed:column=user id,num_bins=100", "genres:list:separator=;"],
            ["click:binary:positive=yes|maybe", "stars:regression:minimum=1,weight=0.5"],
        )
        assert parsed.features == {
            "age": {"kind": "number"},
            "user": {"kind": "hashed", "column": "user id", "num_bins": 100},
            "genres": {"kind": "list", "separator": ";"},
        }
        assert parsed.tasks == {
            "click": {"kind": "binary", "positive": ["yes", "maybe"]},
            "stars": {"kind": "regression", "minimum": 1, "weight": 0.5},
        }

    def test_a_description_is_one_object_wherever_it_is_written(self, settings):
        expected = {
            "age": Number(log1p=True),
            "hours": Buckets(),
            "user": Hashed(100, embedding_dim=4),
            "tags": ListOf(Category(max_size=9), pooling="max", separator=","),
        }
        settings.write_text(
            "tasks: {a: binary}\nfeatures: {age: {kind: number, log1p: true}, hours: buckets, "
            "user: {kind: hashed, num_bins: 100, embedding_dim: 4}, "
            "tags: {kind: list, separator: ',', max_size: 9, pooling: max}}"
        )
        options = ["age:number:log1p=true", "hours:buckets"]
        options.append("user:hashed:num_bins=100,embedding_dim=4")
        written = read_settings(settings).features, parse_settings(options, ["a:binary"]).features
        for features in written:
            for name, given in features.items():
                made = make_feature(feature_settings(name, given)[1])
                assert type(made) is type(expected[name])
                assert made.get_config() == expected[name].get_config()

    def test_options_are_the_arguments_of_the_classes(self):
        assert FEATURE_KINDS["category"] == ["embedding_dim", "max_size", "min_count"]
        assert FEATURE_KINDS["hashed"] == ["num_bins", "embedding_dim"]
        assert set(FEATURE_KINDS["list"]) == {
            *("of", "pooling", "separator"),
            *FEATURE_KINDS["category"],
            "num_bins",
        }

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "taskz: {a: binary}",
                "keys in .*out of features, tasks.*'taskz'. Did you mean 'tasks'",
            ),
            ("tasks: {a: binry}", "kinds of a task out of .*'binry'. Did you mean 'binary'?"),
            ("tasks: {a: {kind: binary, positiv: 1}}", "'positiv'. Did you mean 'positive'?"),
            ("tasks: {a: {weight: 1}}", "Expected a kind or a dict with a kind.*task 'a'"),
            (
                "tasks: {a: {kind: regression, standardize: 'no'}}",
                "Expected True or False. Received: standardize='no' of task 'a'",
            ),
            ("tasks: {a: {kind: regression, weight: heavy}}", "a number. Received: weight='heavy'"),
            (
                "tasks: {a: {kind: binary, positive: yes}}",
                "positive=True of task 'a'. YAML takes yes",
            ),
            (
                "tasks: {a: {kind: binary, positive: ['yes', '']}}",
                "positive=.* of task 'a', with an empty one",
            ),
            ("tasks: {a: {kind: classes}}", "two different classes or more.*task 'a'"),
            ("tasks: {a: {kind: classes, classes: [x, x]}}", r"classes=\['x', 'x'\]"),
            ("tasks: {a: {kind: binary, positive: 1, at_least: 2}}", "either positive or at_least"),
            ("tasks: {a: binary}\nfeatures: {b: nummer}", "'nummer'. Did you mean 'number'?"),
            ("tasks: {a: binary}\nfeatures: {a: number}", "features that are no labels.*'a'"),
            (
                "tasks: {a: {kind: binary, column: b}}\nfeatures: {c: {kind: number, column: b}}",
                "feature 'c' of column 'b', which a task has too",
            ),
            (
                "tasks: {a: binary}\nfeatures: {b: {kind: list, of: number}}",
                "a list of category or hashed.*of='number'",
            ),
            (
                "tasks: {a: binary}\nfeatures: {b: {kind: list, num_bins: 4}}",
                "options of a list of category out of .*'num_bins'",
            ),
            ("tasks: {a: binary}\nformat: {delimeter: x}", "Did you mean 'delimiter'?"),
            ("features: {a: number}", "Expected a task or more"),
            ("tasks: [a, b]", "names with values under 'tasks'"),
            ("just text", "Expected the keys features, tasks"),
            ("tasks: {a: [}", "Expected YAML in .*films.yaml. Received: "),
        ],
    )
    def test_errors_of_a_file(self, settings, text, words):
        settings.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_settings(settings)

    @pytest.mark.parametrize(
        "text", ["age", ":number", "age:", "age:number:log1p", "age:number:=1"]
    )
    def test_errors_of_the_command_line(self, text):
        with pytest.raises(ValueError, match=f"name:kind:option=value. Received: feature='{text}'"):
            parse_settings([text], ["a:binary"])

    def test_a_name_twice_on_the_command_line(self):
        with pytest.raises(ValueError, match="each task once. Received: task='a:regression'"):
            parse_settings([], ["a:binary", "a:regression"])

    def test_no_file_and_no_yaml(self, tmp_path, monkeypatch):
        with pytest.raises(FileNotFoundError, match="Expected a YAML file.*none.yaml"):
            pytest.importorskip("yaml")
            read_settings(tmp_path / "none.yaml")
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(ImportError, match="pip install pyyaml"):
            read_settings(tmp_path / "none.yaml")


class TestLabels:
    @pytest.mark.parametrize(
        ("task", "column", "words"),
        [
            ("binary", "stars", "labels 0 and 1 in column 'stars'. Received: value='4' .*line 2"),
            ("binary", "click", "a number in column 'click'. Received: value='True' .*line 2"),
            ({"kind": "regression", "maximum": 4}, "stars", "to 4 .*value='5' .*line 5"),
            ({"kind": "classes", "classes": ["sad", "glad"]}, "mood", "out of sad, glad.*line 4"),
        ],
    )
    def test_a_label_outside_its_range(self, table, task, column, words):
        format = {"missing": ["NA"], "strip": True}
        data = read_table_data(table, TableSettings({column: task}, {"age": "number"}, format))
        with pytest.raises(ValueError, match=words):
            _ = data.rows

    def test_thresholds_are_at_least(self):
        column, _ = task_settings("like", {"kind": "binary", "column": "stars", "at_least": 4})
        assert column.parse(np.array([3.9, 4.0])).tolist() == [0.0, 1.0]


class TestInference:
    def test_kinds_by_the_first_rows_are_shown(self, tmp_path, capsys):
        path = tmp_path / "t.csv"
        lines = (f"{i},c{i % 3},user{i}x,,{i % 2}" for i in range(2000))
        path.write_text("\n".join(["age,city,user,nothing,click", *lines]))
        data = read_table_data(path, TableSettings({"click": "binary"}))
        expected = {"age": "number", "city": "category", "user": "hashed"}
        assert {name: feature["kind"] for name, feature in data.features.items()} == expected
        assert capsys.readouterr().out == (
            f"{path}: kinds by its first rows: age:number city:category user:hashed; left out: "
            "nothing (no value)\n"
        )

    def test_a_label_column_is_no_feature(self, table):
        settings = TableSettings(
            {"like": {"kind": "binary", "column": "stars", "at_least": 4}},
            format={"missing": ["NA"], "strip": True},
        )
        said = []
        data = read_table_data(table, settings, say=said.append)
        assert "stars" not in data.features and "age" in data.features and len(said) == 1

    def test_nothing_but_labels(self, tmp_path):
        (tmp_path / "t.csv").write_text("click\n1\n")
        with pytest.raises(ValueError, match=r"columns besides the labels. Received: \['click'\]"):
            infer_kinds(read_csv(tmp_path / "t.csv"), ["click"])


class TestParts:
    @pytest.fixture
    def files(self, tmp_path):
        for part, count in (("train", 100), ("validation", 3), ("test", 5)):
            (tmp_path / f"{part}.csv").write_text("age,click\n" + "1,0\n" * count)
        return {part: tmp_path / f"{part}.csv" for part in ("train", "validation", "test")}

    def test_files_for_all_parts(self, files):
        train = files.pop("train")
        settings = TableSettings({"click": "binary"}, {"age": "number"})
        data = read_table_data(train, settings, part_paths=files)
        assert data.rows == {"train": 100, "validation": 3, "test": 5}
        assert data.description == f"{train}, split by files"

    def test_a_file_for_the_test_part_alone(self, files):
        settings = TableSettings({"click": "binary"}, {"age": "number"})
        data = read_table_data(files["train"], settings, seed=1, part_paths={"test": files["test"]})
        assert data.rows["test"] == 5 and data.rows["train"] + data.rows["validation"] == 100
        assert data.rows["train"] == pytest.approx(100 * 0.7 / 0.85, abs=16)
        assert "train 82%, validation 18%; test from files of its own" in data.description

    def test_shares_and_unknown_parts(self, files):
        settings = TableSettings(
            {"click": "binary"}, {"age": "number"}, shares={"train": 0.9, "test": 0.1}
        )
        rows = read_table_data(files["train"], settings).rows
        assert rows["validation"] == 0 and rows["train"] > 75
        with pytest.raises(ValueError, match="'tset'. Did you mean 'test'?"):
            read_table_data(files["train"], settings, part_paths={"tset": files["test"]})

    def test_parquet(self, tmp_path):
        arrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
        from pyarrow import parquet

        ages = np.arange(100) / 2
        columns = {"age": ages, "city": ["Rome", "Bonn"] * 50, "click": [True, False] * 50}
        columns["tags"] = [["a", "b"], []] * 50
        parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
        data = read_table_data(tmp_path / "t.parquet", TableSettings({"click": "binary"}), say=str)
        assert {name: f["kind"] for name, f in data.features.items()} == {
            "age": "number",
            "city": "category",
            "tags": "list",
        }
        features, labels = rows_of(data)
        assert sorted(features["age"]) == ages.tolist()
        assert ((features["city"] == "Rome") == (labels["click"] == 1)).all()
        assert (features["tags"][features["city"] == "Rome"] == ["a", "b"]).all()
        assert (features["tags"][features["city"] == "Bonn"] == "").all()
        settings = TableSettings({"click": "binary"}, {"tags": "category"})
        with pytest.raises(ValueError, match="one value a row in column 'tags'.*kind `list`"):
            _ = read_table_data(tmp_path / "t.parquet", settings).rows


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"kind": "binary"}, [0.0, -1.0, 1.0], [0.0, np.nan, 1.0]),
        ({"kind": "binary", "at_least": 4}, [5.0, -1.0, 2.0], [1.0, np.nan, 0.0]),
        ({"kind": "binary", "positive": "y"}, ["y", "-1", "n"], [1.0, np.nan, 0.0]),
        ({"kind": "classes", "classes": ["a", "b"]}, ["b", "-1", "a"], [1.0, np.nan, 0.0]),
        ({"kind": "regression", "minimum": 0}, [2.5, -1.0, 0.0], [2.5, np.nan, 0.0]),
    ],
)
def test_a_label_that_stands_for_a_missing_one(settings, values, expected):
    column, task = task_settings("y", {**settings, "missing_label": -1})
    given = np.array(values) if column.dtype == "float64" else values
    np.testing.assert_array_equal(column.parse(given), expected)
    assert "missing_label" not in task  # what a model is given has NaN
    column, _ = task_settings("y", settings)
    if settings["kind"] == "classes" or "minimum" in settings or len(settings) == 1:
        with pytest.raises(BadValue):
            column.parse(given)


def test_a_missing_label_of_another_type():
    with pytest.raises(ValueError, match="Expected a number. Received: missing_label='none' of ta"):
        task_settings("y", {"kind": "binary", "missing_label": "none"})
