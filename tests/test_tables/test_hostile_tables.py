"""Tables and settings that are none: what hostile files say, in bounded time and memory."""

import gzip
import struct
import tracemalloc

import pytest

from moe_zoo.training.tables import csv_table
from moe_zoo.training.tables.column_settings import FEATURE_KINDS, TASK_KINDS
from moe_zoo.training.tables.columns import NumberColumn, TextColumn
from moe_zoo.training.tables.csv_table import read_csv
from moe_zoo.training.tables.infer_kinds import infer_kinds
from moe_zoo.training.tables.option_checks import FORMAT_CHECKS
from moe_zoo.training.tables.table_data import open_table
from moe_zoo.training.tables.table_settings import TableSettings, parse_settings, read_settings
from moe_zoo.validation import shown

NAN = float("nan")


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class TestHostileYaml:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (ALIASES, r"the alias \*a in line 2, in place of which its values"),
            ("a: &a [*a]", r"the alias \*a in line 1"),
            ("[" * 100_000, "more than 20 lists or names in each other in line 1"),
            ("{a: " * 5000, "more than 20 lists or names in each other"),
            ("tasks: {a: binary}\ntasks: {b: binary}", "the name 'tasks' twice.* line 2"),
            ("tasks: {a: binary, a: binary}", "the name 'a' twice.* line 1"),
            ("tasks: {1: binary}", "the name 1 in line 1, which needs quotes"),
            ("tasks: {yes: binary}", "the name True in line 1, which needs quotes"),
            (
                "tasks: !!python/object/apply:os.getcwd []",
                "the tag '.*:os.getcwd' in line 1; a text",
            ),
            ("a: !!seq abc", "the tag 'tag:yaml.org,2002:seq' in line 1"),
            ("tasks:\n  a: !!bool maybe", "the tag 'tag:yaml.org,2002:bool' in line 2"),
            ("a: 1" + ":1" * 200_000, "the number '1:1:.*:1' in line 1, which is not written in d"),
            ("tasks: {a: {kind: classes, classes: [b, 01234]}}", "the number '01234' in line 1"),
            ("a: [" + "[]," * 300_000 + "]", "more than 100,000 names, values and brackets by"),
            ("tasks: {a: {kind: binary, weight: 1e-3}}", "weight='1e-3'.* YAML takes 1.0e-3"),
            ("tasks: {a: " + "9" * 6000 + "}", "Exceeds the limit"),
            ("a: 2024-99-99", "month must be in 1..12"),
            (b"\xff\xfet\0a\0", "'utf-8' codec can't decode"),
            (b"\0\1\2\3", "unacceptable character"),
            ("a: " + "x" * 1_000_000, "a YAML file of at most 1,000,000 bytes"),
            ("tasks: {a: binaryinary}", "Received: 'binaryinary'. Did you mean 'binary'"),
            ("tasks: {a: binary}\nshares: {train: 1.1}", "shares of 'train'=1.1"),
        ],
    )
    def test_files_that_are_no_settings(self, tmp_path, content, words):
        settings = tmp_path / "films.yaml"
        settings.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(ValueError, match=words) as raised:
            read_settings(settings)
        assert len(str(raised.value)) < 1000 and str(settings) in str(raised.value)

    @pytest.mark.parametrize("column", ["feature", "task", "format"])
    def test_every_option_refuses_what_is_not_of_its_kind(self, column):
        hostile = (10**20, -1, [[]], {}, NAN, float("inf"), "\0", b"x", True, "no", "")
        if column == "format":
            cases = [(None, name) for name in FORMAT_CHECKS]
        else:
            kinds = {"feature": FEATURE_KINDS, "task": TASK_KINDS}[column]
            cases = [(kind, name) for kind in kinds for name in (*kinds[kind], "column")]
        taken = set()
        for kind, name in cases:
            for value in hostile:
                given = {"classes": ["a", "b"]} if kind == "classes" else {}
                given |= {"kind": kind, name: value}
                try:
                    if column == "format":
                        TableSettings({"a": "binary"}, format={name: value})
                    elif column == "task":
                        TableSettings({"a": given})
                    else:
                        TableSettings({"b": "binary"}, {"a": given})
                    taken.add((name, shown(value)))
                except ValueError as error:
                    said = str(error)
                    assert name in said
                    assert len(said) < 1000
        texts = {
            "column",
            "separator",
            "positive",
            "delimiter",
            "columns",
            "missing",
            "missing_label",
        }
        numbers = {"at_least", "minimum", "maximum"}
        for name, value in taken:  # a text is a text, and some numbers may be negative or large
            fits = isinstance(value, str) and name in texts
            switch = name in ("log1p", "strip", "standardize") and value == "True"
            number = name in (*numbers, "weight") and value in ("-1", str(10**20))
            assert fits or switch or number or name in ("encoding", "quote"), (name, value)

    def test_a_separator_of_another_kind(self):
        with pytest.raises(ValueError, match="Received: delimiter=5 of the format"):
            TableSettings({"a": "binary"}, format={"delimiter": 5})
        with pytest.raises(ValueError, match="num_bins=99999999999999 of feature 'b'. Lower"):
            parse_settings(["b:hashed:num_bins=99999999999999"], ["a:binary"])
        with pytest.raises(ValueError, match="encoding='klingon' of the format. utf-8"):
            TableSettings({"a": "binary"}, format={"encoding": "klingon"})
        with pytest.raises(ValueError, match="encoding='rot13' of the format. utf-8"):
            TableSettings({"a": "binary"}, format={"encoding": "rot13"})
        with pytest.raises(ValueError, match="share.*Received: shares of 'train'=nan"):
            TableSettings({"a": "binary"}, shares={"train": float("nan")})


class TestHostileCsv:
    """Files of text that are no table, or a hostile one."""

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            (["a,b", "1," + "x" * 200_000], "fields of at most 131,072 characters.*line 2 has"),
            (["a,b", "1,2", '3,"4'] + ["5,6"] * 50_000, "at most 131,072.*line 3 has.*quote"),
            (["a,b", "1,2", '3,"4', "5,6"], "in which quotes close.*line 3 that does not"),
            (["a" * 200_000 + ",b", "1,2"], "fields of at most 131,072 characters.*line 1 has"),
            (["a,b", "1,\0"], "a NUL byte in line 2"),
            ([""], "Expected a header.*which is empty"),
            (["a,b"], "Expected a table with rows"),
            (["a,a"], "'a' twice in '?.*t.csv"),
        ],
    )
    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
    def test_rows_that_cannot_be_read_are_named(self, tmp_path, name, lines, words):
        with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
            file.write("\n".join(lines))
        with pytest.raises(ValueError, match=words) as raised:
            list(read_csv(tmp_path / name).batches({"b": TextColumn("b")}))
        assert len(str(raised.value)) < 1000

    def test_a_line_of_a_gigabyte_takes_little_memory(self, tmp_path):
        path = tmp_path / "t.csv.gz"  # a gzip bomb of a megabyte too
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"a,b\n1,2\n")
            for _ in range(64):
                file.write(b"x" * 2**20)
        tracemalloc.start()
        with pytest.raises(ValueError, match="lines of at most 16,777,216 bytes.*line 3 is longer"):
            list(read_csv(path).batches({"b": TextColumn("b")}))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5 * 2**24  # the line so far, in bytes and as text

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "mixed"])
    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
    def test_ends_of_lines_and_encodings(self, tmp_path, end, encoding):
        lines = ["a,b", "1,é", '2,"x\ny"', "3,z"]
        ends = ["\n", "\r\n", "\r", "\n"] if end == "mixed" else [end] * 4
        text = "".join(line + end for line, end in zip(lines, ends, strict=True))
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        (batch,) = read_csv(tmp_path / "t.csv", encoding=encoding).batches({"b": TextColumn("b")})
        assert batch["b"].tolist() == ["é", "x\ny", "z"]

    def test_a_header_of_many_columns(self, tmp_path):
        names = [f"c{i}" for i in range(200_000)]
        (tmp_path / "t.csv").write_text(f"{','.join(names)}\n{','.join('7' * len(names))}\n")
        (batch,) = read_csv(tmp_path / "t.csv").batches({"last": TextColumn(names[-1])})
        assert batch["last"].tolist() == ["7"]
        with pytest.raises(ValueError, match="at most 2,000 columns.*Received: 200,000 columns"):
            infer_kinds(read_csv(tmp_path / "t.csv"), [])
        with pytest.raises(ValueError, match="Expected a column 'c'") as raised:
            list(read_csv(tmp_path / "t.csv").batches({"last": TextColumn("c")}))
        assert len(str(raised.value)) < 2000

    def test_columns_that_are_named_twice_or_not_at_all(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text(",a,y\n0,1,1\n1,2,0\n")  # as pandas writes it with its index
        assert infer_kinds(read_csv(path), ["y"]) == (
            {"a": {"kind": "number"}},
            {"": "a column without a name"},
        )
        with pytest.raises(ValueError, match="'a' twice in .*once in `columns`"):
            read_csv(path, columns=["a", "b", "a"])

    def test_more_lines_are_skipped_than_there_are(self, tmp_path):
        (tmp_path / "t.csv").write_text("a\n1\n")
        with pytest.raises(ValueError, match="which is empty"):  # and at once
            list(read_csv(tmp_path / "t.csv", skip_lines=2**31 - 1).batches({"a": TextColumn("a")}))

    def test_cells_in_memory_are_bounded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(csv_table, "MOST_CELLS", 7)
        (tmp_path / "t.csv").write_text("a,b,c\n" + "1,2,3\n" * 5)
        batches = read_csv(tmp_path / "t.csv").batches({"a": TextColumn("a")})
        assert [len(batch["a"]) for batch in batches] == [1, 2, 2]  # 7 // 3 rows, one the header

    def test_a_mark_of_missing_values_is_one_text(self, tmp_path):
        (tmp_path / "t.csv").write_text("b\nNA\nN\n")
        (batch,) = read_csv(tmp_path / "t.csv", missing="NA").batches({"b": TextColumn("b")})
        assert batch["b"].tolist() == ["", "N"]


class TestHostileParquet:
    @pytest.mark.parametrize(
        ("old", "new", "checksum", "words"),
        [
            (struct.pack("<d", 977.25), struct.pack("<d", 977.5), True, "checksum"),
            (b"Oslo", b"Os\xffo", False, "can't decode byte 0xff"),
            (b"Oslo", b"Oslooo", False, "of another format: "),  # later pages stand elsewhere
        ],
    )
    def test_damage_that_shows_when_rows_are_read(self, tmp_path, old, new, checksum, words):
        arrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
        from pyarrow import parquet

        path = tmp_path / "t.parquet"
        table = arrow.table({"age": [1.0, 2.5, 977.25], "city": ["Rome", "Oslo", "Bonn"]})
        plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
        parquet.write_table(table, path, write_page_checksum=checksum, **plain)
        columns = {"age": NumberColumn("age"), "city": TextColumn("city")}
        (batch,) = open_table(path).batches(columns)
        assert batch["age"].tolist() == [1, 2.5, 977.25]
        path.write_bytes(path.read_bytes().replace(old, new, 1))
        with pytest.raises(ValueError) as error:
            list(open_table(path).batches(columns))
        start = f"Expected a Parquet file. Received: {str(path)!r}, which is empty, broken"
        assert str(error.value).startswith(start) and words in str(error.value)

    def test_columns_of_one_name(self, tmp_path):
        arrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
        from pyarrow import parquet

        table = arrow.Table.from_arrays([arrow.array([1]), arrow.array([2])], names=["a", "a"])
        parquet.write_table(table, tmp_path / "t.parquet")
        for read in (lambda table: table.type_of("a"), lambda table: table.names(table.paths[0])):
            with pytest.raises(ValueError, match="different names of columns. Received: 'a' twice"):
                read(open_table(tmp_path / "t.parquet"))
