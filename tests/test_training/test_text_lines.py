"""Lines of text files: bounded, plain or gzipped, with errors that name the file."""

import csv
import gzip
import tracemalloc

import pytest

from moe_zoo.training.recipes.classifier.labelled_text import read_examples
from moe_zoo.training.tables.bounded_lines import LONGEST_LINE
from moe_zoo.training.text.text_lines import read_lines

MIB = b"x" * 2**20
OPENERS = {"t.tsv": open, "t.tsv.gz": gzip.open}


@pytest.mark.parametrize("name", OPENERS)
def test_lines(name, tmp_path):
    with OPENERS[name](tmp_path / name, "wb") as file:
        file.write("\ufeffa\u2028b\r\n\nc\rd\n\n e".encode())
    assert read_lines(tmp_path / name) == ["a\u2028b", "", "c\rd", "", " e"]


@pytest.mark.parametrize("name", OPENERS)
def test_a_long_line_takes_little_memory(name, tmp_path):
    with OPENERS[name](tmp_path / name, "wb") as file:
        file.write(b"a\tb\n")
        for _ in range(64):
            file.write(MIB)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=f"at most 16,777,216 bytes.*{name}', whose line 2 is long"
    ):
        read_lines(tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LONGEST_LINE  # the file has 64 MiB


def test_the_longest_line(tmp_path):
    line = MIB * (LONGEST_LINE // len(MIB))
    path = tmp_path / "t.txt"
    path.write_bytes(line + b"\n" + line)
    assert [*map(len, read_lines(path))] == [LONGEST_LINE] * 2
    path.write_bytes(b"a\n" + line + b"x\n")
    with pytest.raises(ValueError, match="whose line 2 is longer"):
        read_lines(path)


@pytest.mark.parametrize(
    "damage",
    {
        "truncated": lambda data: data[:-9],
        "no gzip": lambda data: b"a" + data,
        "flipped": lambda data: data[:60] + bytes([data[60] ^ 8]) + data[61:],
        "a wrong sum": lambda data: data[:-8] + bytes(4) + data[-4:],
        "something after it": lambda data: data + b"more",
    }.values(),
)
def test_a_damaged_gzip_file_is_named(damage, tmp_path):
    path = tmp_path / "t.tsv.gz"
    path.write_bytes(damage(gzip.compress("".join(f"{i}\t{i * i}\n" for i in range(99)).encode())))
    with pytest.raises(ValueError, match="a whole gzip file. Received: .*t.tsv.gz', .*Fetch"):
        read_lines(path)


def test_a_field_of_many_lines_is_bounded_and_the_limit_of_others_stays(tmp_path):
    before = csv.field_size_limit()
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b'a,b\nc,"')
        for _ in range(17):
            file.write(MIB + b"\n")
    with pytest.raises(ValueError, match="most 16,777,216 char.*t.csv.gz', whose row in line 2"):
        read_examples(path)
    assert csv.field_size_limit() == before
