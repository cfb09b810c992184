"""Tables and settings that are none: what hostile files say, in bounded time and memory."""

import pytest

from moe_zoo.training.tables.column_settings import FEATURE_KINDS, TASK_KINDS
from moe_zoo.training.tables.option_checks import FORMAT_CHECKS
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
            ("tasks: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
            ("tasks: {a: " + "9" * 6000 + "}", "Exceeds the limit"),
            ("a: 2024-99-99", "month must be in 1..12"),
            (b"\xff\xfet\0a\0", "'utf-8' codec can't decode"),
            (b"\0\1\2\3", "unacceptable character"),
            ("a: " + "x" * 1_000_000, "a YAML file of at most 1,000,000 bytes"),
        ],
    )
    def test_files_that_are_no_settings(self, tmp_path, content, words):
        settings = tmp_path / "films.yaml"
        settings.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(ValueError, match=words) as raised:
            read_settings(settings)
        assert len(str(raised.value)) < 1000

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
        texts = {"column", "separator", "positive", "delimiter", "columns", "missing"}
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
        with pytest.raises(ValueError, match="share.*Received: shares of 'train'=nan"):
            TableSettings({"a": "binary"}, shares={"train": float("nan")})
