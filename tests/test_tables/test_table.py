"""Tables in files: what is read, how much memory it takes, and what each error says."""

import csv
import gzip
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_zoo.training.tables.cells import CleanText, parse_numbers
from moe_zoo.training.tables.columns import ListColumn, NumberColumn, TextColumn
from moe_zoo.training.tables.csv_table import read_csv
from moe_zoo.training.tables.rows import Rows, join_rows
from moe_zoo.training.tables.table_data import open_table

AGE, CITY = NumberColumn("age"), TextColumn("city")


def write(path, text):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


def read_all(table, columns=None, rows=3):
    columns = {"age": AGE, "city": CITY} if columns is None else columns
    return join_rows(Rows(batch, {}) for batch in table.batches(columns, rows)).features


def error_of(table, columns=None):
    with pytest.raises(ValueError) as error:
        read_all(table, columns)
    return str(error.value)


class TestCsv:
    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_header_numbers_and_texts(self, tmp_path, name, end):
        lines = ["city,age,other", "Rome,37,x", '"Bonn, Rhein",,x', ",1e3,x", "", "Köln,-2.5,x"]
        table = read_csv(write(tmp_path / name, "\ufeff" + end.join(lines)))
        read = read_all(table)
        assert list(read) == ["age", "city"]
        np.testing.assert_array_equal(read["age"], [37, np.nan, 1000, -2.5])
        assert read["city"].tolist() == ["Rome", "Bonn, Rhein", "", "Köln"]
        assert (read["age"].dtype, read["city"].dtype) == (np.float64, object)

    def test_no_header_spaces_and_missing_markers(self, tmp_path):
        path = write(tmp_path / "t.data", "| comment\n 37, Rome \n ?, ?\n 4 ,Bonn\n")
        table = read_csv(path, ["age", "city"], strip=True, missing=("?",), skip_lines=1)
        read = read_all(table)
        np.testing.assert_array_equal(read["age"], [37, np.nan, 4])
        assert read["city"].tolist() == ["Rome", "", "Bonn"]

    @pytest.mark.parametrize("last", ["4", ""])  # cells that are all numbers, and one that is none
    def test_missing_markers_that_are_numbers(self, tmp_path, last):
        path = write(tmp_path / "t.csv", f"age,city\n37,a\n-999,b\n-999.5,c\n{last},d\n")
        read = read_all(read_csv(path, missing=("-999",)))
        wanted = [37, np.nan, -999.5, float(last or "nan")]
        np.testing.assert_array_equal(read["age"], wanted)

    def test_spaces_stay_unless_they_are_to_go(self, tmp_path):
        table = read_csv(write(tmp_path / "t.csv", "age,city\n 1, Rome \n"))
        assert read_all(table)["city"].tolist() == [" Rome "]

    @pytest.mark.parametrize(
        ("delimiter", "name"), [("::", "t.csv"), (";", "t.csv"), (None, "t.tsv")]
    )
    def test_delimiters(self, tmp_path, delimiter, name):
        rows = [["age", "city"], ["1", "a:b, c"], ["", "d"]]
        text = "\n".join((delimiter or "\t").join(row) for row in rows)
        read = read_all(read_csv(write(tmp_path / name, text), delimiter=delimiter))
        assert read["city"].tolist() == ["a:b, c", "d"]
        np.testing.assert_array_equal(read["age"], [1, np.nan])

    def test_lists_are_filled_up(self, tmp_path):
        path = write(tmp_path / "t.csv", 'genres\nAction|Comedy| Noir\n""\nDrama\n|\n')
        read = read_all(read_csv(path), {"g": ListColumn("genres", "|")}, rows=2)
        expected = [["Action", "Comedy", "Noir"], ["", "", ""], ["Drama", "", ""], ["", "", ""]]
        assert read["g"].tolist() == expected

    def test_one_column_may_be_read_twice(self, tmp_path):
        path = write(tmp_path / "t.csv", "age\n7\n")
        read = read_all(read_csv(path), {"a": AGE, "b": TextColumn("age")})
        assert (read["a"][0], read["b"][0]) == (7.0, "7")

    def test_several_files_and_a_folder_with_columns_in_another_order(self, tmp_path):
        a = write(tmp_path / "1.csv", "age,city\n1,a\n")
        b = write(tmp_path / "2.csv.gz", "city,age\nb,2\nc,3\n")
        write(tmp_path / "3.csv", "age,city\n")  # a file without rows among others
        write(tmp_path / ".hidden.csv", "nothing")
        for path in (tmp_path, [a, b], [str(a), b]):
            read = read_all(read_csv(path))
            assert (read["age"].tolist(), read["city"].tolist()) == ([1, 2, 3], ["a", "b", "c"])

    @given(st.lists(st.tuples(st.text("aä ,\"'|\n", max_size=4), st.integers(-9, 9)), min_size=1))
    def test_what_the_csv_module_writes_is_read_in_any_chunks(self, tmp_path_factory, pairs):
        path = tmp_path_factory.mktemp("t") / "t.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([("city", "age"), *pairs])
        for rows in (1, 2, 100):
            read = read_all(read_csv(path), rows=rows)
            assert list(zip(read["city"], read["age"], strict=True)) == pairs

    def test_four_times_the_rows_take_the_same_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("moe_zoo.training.tables.cells.REMEMBERED", 1000)
        columns = {"age": AGE, "city": CITY, "tags": ListColumn("tags")}
        peaks = []
        for rows in (10_000, 40_000):
            lines = (f"{i},city number {i},{i % 7}|{i % 3}\n" for i in range(rows))
            path = write(tmp_path / f"{rows}.csv.gz", "age,city,tags\n" + "".join(lines))
            tracemalloc.start()
            count = sum(len(batch["age"]) for batch in read_csv(path).batches(columns, 1000))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert count == rows
        # The cells of 40,000 rows as strings take 3 x 50 bytes each and more: over 6 MB.
        assert peaks[1] < 2e6
        assert peaks[1] < 1.2 * peaks[0]

    def test_equal_values_are_one_string(self, tmp_path):
        path = write(tmp_path / "t.csv", "age,city\n" + "1, Paris\n" * 5)
        city = read_all(read_csv(path, strip=True), rows=2)["city"]
        assert len({id(value) for value in city}) == 1


class TestCsvErrors:
    def test_a_ragged_row_has_its_file_and_line(self, tmp_path):
        text = 'age,city\n1,"two\nlines"\n\n2,b\n3\n4,d\n'
        message = error_of(read_csv(write(tmp_path / "t.csv", text)))
        assert "Expected 2 values in each row" in message
        assert f"Received: 1 values in {tmp_path / 't.csv'}, line 6." in message

    def test_a_ragged_row_after_skipped_lines_in_a_late_chunk(self, tmp_path):
        text = "% note\n" + "1,a\n" * 20_000 + "1,a,b\n"
        message = error_of(read_csv(write(tmp_path / "t.csv", text), ["age", "city"], skip_lines=1))
        assert "3 values in" in message and "line 20002." in message

    @pytest.mark.parametrize("value", ["old", "1_000", "inf", "1e999", "0x1f", "1,5"])
    def test_a_number_that_is_none(self, tmp_path, value):
        text = f"age;city\n1;a\n;b\n{value};c\n"
        message = error_of(read_csv(write(tmp_path / "t.csv", text), delimiter=";"))
        assert "Expected a number in column 'age'" in message
        assert f"value={value!r} in {tmp_path / 't.csv'}, line 4." in message

    def test_a_value_outside_its_range(self, tmp_path):
        path = write(tmp_path / "t.csv", "age\n1\n\n7\n")
        message = error_of(read_csv(path), {"age": NumberColumn("age", 1, 5)})
        assert "numbers from 1 to 5 in column 'age'. Received: value='7'" in message
        assert "line 4" in message

    def test_a_missing_column_and_the_nearest_name(self, tmp_path):
        table = read_csv(write(tmp_path / "t.csv", "Age,town\n1,a\n"))
        message = error_of(table)
        assert "Expected a column 'age'" in message and "columns Age, town" in message
        assert "Did you mean 'Age'?" in message

    @pytest.mark.parametrize(
        ("text", "columns", "words"),
        [
            ("", None, "a header with the names of the columns"),
            ("\n\n", None, "a header with the names of the columns"),
            ("age,city\n", None, "a table with rows"),
            ("", ["age", "city"], "a table with rows"),
            ("age,age\n1,2\n", None, "different names of columns. Received: 'age' twice"),
            ('age,city\n1,"Rome\n2,b\n', None, "quotes close"),
        ],
    )
    def test_an_empty_or_broken_file(self, tmp_path, text, columns, words):
        path = write(tmp_path / "t.csv", text)
        message = error_of(read_csv(path, columns))
        assert words in message and str(path) in message

    @pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"no gzip" + data])
    def test_a_broken_gzip_file(self, tmp_path, damage):
        lines = (f"{i},{i * 7919 % 104729}\n" for i in range(20_000))
        path = write(tmp_path / "t.csv.gz", "age,city\n" + "".join(lines))
        path.write_bytes(damage(path.read_bytes()))
        message = error_of(read_csv(path))
        assert "Expected a whole gzip file" in message and "t.csv.gz" in message

    def test_another_encoding(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes("age,city\n1,Köln\n".encode("latin-1"))
        assert "Name its encoding" in error_of(read_csv(path))
        for wrong in ("utf-16", "undefined"):
            message = error_of(read_csv(path, encoding=wrong))
            assert f"Expected text in {wrong}. Received: " in message and path.name in message
        with pytest.raises(ValueError, match="Received: delimiter=',', quote=','. Set quote=None"):
            read_csv(path, quote=",")
        assert read_all(read_csv(path, encoding="latin-1"))["city"].tolist() == ["Köln"]

    def test_files_that_are_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="which does not exist. Check the path"):
            read_csv(tmp_path / "none.csv")
        with pytest.raises(FileNotFoundError, match="a folder without one"):
            read_csv(tmp_path)
        with pytest.raises(ValueError, match="delimiter=''"):
            read_csv(write(tmp_path / "t.csv", "a"), delimiter="")


class TestCells:
    def test_distinct_cells_are_not_remembered_without_end(self, monkeypatch):
        monkeypatch.setattr("moe_zoo.training.tables.cells.REMEMBERED", 10)
        clean = CleanText(strip=True)
        assert [clean[f" {i}"] for i in range(50)] == [str(i) for i in range(50)]
        assert len(clean) == 10

    def test_nan_is_missing(self):
        assert np.isnan(parse_numbers(["nan", "", " "], str)).all()


class TestParquet:
    @pytest.fixture
    def arrow(self):
        return pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")

    @pytest.fixture
    def path(self, arrow, tmp_path):
        from pyarrow import parquet

        table = arrow.table(
            {
                "age": arrow.array([1, None, 3], arrow.int32()),
                "score": [1.5, float("nan"), 2.0],
                "city": arrow.array(["Rome", None, "Rome"]).dictionary_encode(),
                "genres": [["Action", "Comedy"], None, ["Drama"]],
                "click": [True, False, None],
            }
        )
        parquet.write_table(table, tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    @pytest.mark.parametrize("rows", [2, 100])
    def test_columns(self, path, rows):
        columns = {
            "age": AGE,
            "age_text": TextColumn("age"),
            "score": NumberColumn("score"),
            "score_text": TextColumn("score"),
            "city": CITY,
            "genres": ListColumn("genres"),
            "click": NumberColumn("click"),
        }
        read = read_all(open_table(path), columns, rows)
        np.testing.assert_array_equal(read["age"], [1, np.nan, 3])
        np.testing.assert_array_equal(read["score"], [1.5, np.nan, 2])
        np.testing.assert_array_equal(read["click"], [1, 0, np.nan])
        assert read["age_text"].tolist() == ["1", "", "3"]
        assert read["score_text"].tolist() == ["1.5", "", "2"]
        assert read["city"].tolist() == ["Rome", "", "Rome"]
        assert read["genres"].tolist() == [["Action", "Comedy"], ["", ""], ["Drama", ""]]

    def test_errors(self, path, tmp_path):
        message = error_of(open_table(path), {"x": NumberColumn("city")})
        assert "a number in column 'city'. Received: value='Rome'" in message
        assert f"in {path}, row 1." in message
        message = error_of(open_table(path), {"x": NumberColumn("age", maximum=2)})
        assert "value=3" in message and "row 3" in message
        message = error_of(open_table(path), {"x": TextColumn("genre")})
        assert "Did you mean 'genres'?" in message
        (tmp_path / "empty.parquet").touch()
        assert "Expected a Parquet file" in error_of(open_table(tmp_path / "empty.parquet"))
        with pytest.raises(ValueError, match="no format for Parquet files"):
            open_table(path, {"delimiter": ";"})

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        (tmp_path / "t.parquet").touch()
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ImportError, match="Expected pyarrow.*pip install pyarrow"):
            open_table(tmp_path / "t.parquet")
