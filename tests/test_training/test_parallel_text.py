"""Parallel text: what is read, and how what is none is refused."""

import gzip

import pytest

from moe_zoo.training.recipes.translation.parallel_text import Pair, read_parallel_text
from tiny_texts import number_pairs, write_parallel


def write(folder, **files):
    """Files by name, with `_` for the dot before the ending."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


TEST = {"test__en": "c\nd\n", "test__de": "C\nD\n"}
TABBED = {"test__tsv": "c\tC\n"}


def test_pairs_of_files_by_their_endings(tmp_path):
    text = read_parallel_text(write_parallel(tmp_path / "data"))
    assert (text.source, text.target) == ("en", "de")  # English first, whatever the alphabet
    assert [len(part) for part in (text.train, text.validation, text.test)] == [90, 17, 11]
    words, digits = number_pairs(90, seed=0)[3]
    assert text.train[3] == Pair(digits, words)
    other = read_parallel_text(tmp_path / "data", source="de")
    assert other.target == "en" and other.train[3] == Pair(words, digits)
    assert other.fingerprint != text.fingerprint
    assert text.fingerprint == read_parallel_text(tmp_path / "data", target="de").fingerprint


def test_lines_end_at_line_feeds_alone(tmp_path):
    """Other ends that Python knows stand within sentences, as in crawled text."""
    folder = write(
        tmp_path / "data",
        train__en="\ufeffone\u2028more\r\ntwo\x0cmore\nthree\n"
        + "".join(f"{i}\n" for i in range(99)),
        train__de="eins\r\nzwei\ndrei" + "".join(f"\nz{i}" for i in range(99)),
        **TEST,
    )
    text = read_parallel_text(folder)
    pairs = {*text.train, *text.validation}
    assert {("one\u2028more", "eins"), ("two\x0cmore", "zwei"), ("98", "z98")} <= pairs


def test_gzip_and_a_validation_part_that_is_split_off(tmp_path):
    pairs = number_pairs(200, seed=1)
    packed = [gzip.compress("\n".join(x).encode()) for x in zip(*pairs, strict=True)]
    folder = write(tmp_path / "data", train__de__gz=packed[0], train__en__gz=packed[1], **TEST)
    text = read_parallel_text(folder)
    assert sorted(text.train + text.validation) == sorted(Pair(b, a) for a, b in pairs)
    assert 3 <= len(text.validation) <= 25
    assert not {x.source for x in text.train} & {x.source for x in text.validation}
    assert text == read_parallel_text(folder)


def test_a_tab_separated_file_is_split_by_its_sources(tmp_path):
    pairs = number_pairs(300, seed=2)
    lines = [f"{a}\t{b}\tCC-BY someone\n" for a, b in pairs] + [f"{pairs[0][0]}\tanother\n", "\n"]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    text = read_parallel_text(tmp_path / "pairs.tsv", "de", "en")
    assert (text.source, text.target) == ("de", "en")
    parts = text.train, text.validation, text.test
    assert sorted(sum(parts, ())) == sorted([*map(Pair._make, pairs), Pair(pairs[0][0], "another")])
    sources = [{pair.source for pair in part} for part in parts]
    assert sources[0].isdisjoint(sources[1]) and sources[0].isdisjoint(sources[2])
    folder = write(
        tmp_path / "data", train__tsv="a\tA\nb\tB\n", val__tsv="e\tE\n", test__tsv="c\tC\n"
    )
    assert read_parallel_text(folder).train == (Pair("a", "A"), Pair("b", "B"))
    with pytest.raises(ValueError, match=r"several test parts\. Received: test='test_2016' for"):
        read_parallel_text(tmp_path / "pairs.tsv", test="test_2016")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train__en": "a\nb\nc\n", "train__de": "A\nB\n", **TEST},
            "with 3 and .*train.de' with 2 lines: line 3 of 'train.en' has no counterpart in "
            "'train.de'",
        ),
        (
            {"train__en": "a\n\n\nb\n", "train__de": "A\n\nB\nC\n", **TEST},
            r"train\.en', line 3, which has none of 'B'\. Add it",
        ),
        (
            {"train__tsv": "a\tA\nb B\n", **TABBED},
            r"train\.tsv', line 2, without a tab",
        ),
        (
            {"train__tsv": "a\tA\nb\t\n", **TABBED},
            r"train\.tsv', line 2, which has none",
        ),
        ({"train__en": " \n\n", "train__de": "A\nB\n", **TEST}, r"train\.en', which is empty"),
        ({"train__en": "", "train__de": "A\nB\n", **TEST}, r"train\.en', which is empty"),
        (
            {"train__en": b"a\nb\xff\n", "train__de": "A\nB\n", **TEST},
            r"UTF-8\. Received: .*train\.en', line 2, which is not: .*0xff",
        ),
        ({"train__en__gz": b"a\n", "train__de": "A\n", **TEST}, "whole gzip file.*train.en.gz'"),
        (
            {"train__en": "a\n", "train__de": "A\n"},
            r"a test part: test\.en and \.de, or \.tsv, gzipped or not\. Received: .*data'",
        ),
        (TEST, r"Expected a train part: train\.en"),
        (
            {"train__en": "a\n", "train__de": "A\n", **TEST, "test_2__en": "e\n"},
            r"one test part in a folder.*with test, test_2\. Choose one with --test",
        ),
        (
            {"train__en": "a\n", "train__fr": "A\n", **TEST},
            r"two languages\. Received: en in every",
        ),
        (
            {"train__en": "a\n", "train__de": "A\n", **TEST},
            r"Expected enough text to split off a validation part\. Received: 1 texts",
        ),
    ],
)
def test_what_is_no_parallel_text(files, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        read_parallel_text(write(tmp_path / "data", **files))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "fr"}, r"Received: 'fr', with de, en in every part"),
        ({"source": "en", "target": "en"}, r"Expected two languages"),
        ({"test": "test_2017"}, r"Expected a test part: test_2017\.en"),
    ],
)
def test_languages_and_parts_that_are_not_there(options, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        read_parallel_text(write_parallel(tmp_path / "data"), **options)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere', which does not exist"):
        read_parallel_text(tmp_path / "nowhere")


def test_three_languages_need_a_choice(tmp_path):
    files = {
        f"{part}__{x}": "a\nb\n" for part in ("train", "val", "test") for x in ("cs", "de", "en")
    }
    folder = write(tmp_path / "data", **files)
    with pytest.raises(ValueError, match="Received: cs, de, en in every part"):
        read_parallel_text(folder, source="de")
    text = read_parallel_text(folder, source="de", target="cs")
    assert (text.source, text.target) == ("de", "cs")


def test_multi30k_as_it_is_published(data_dir):
    text = read_parallel_text(data_dir / "multi30k_en_de")
    assert [len(part) for part in (text.train, text.validation, text.test)] == [29000, 1014, 1000]
    assert text.train[0].source == "Two young, White males are outside near many bushes."
    assert text.train[0].target.startswith("Zwei junge weiße Männer")
