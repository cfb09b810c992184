"""Labelled text: files, docstrings, IMDB; and how what is none is refused."""

import csv
import gzip
import json
import pickle
import zipfile

import numpy as np
import pytest

from moe_zoo.training.recipes.classifier.docstrings import docstrings_of, read_docstrings
from moe_zoo.training.recipes.classifier.imdb import read_imdb
from moe_zoo.training.recipes.classifier.labelled_text import (
    Example,
    LabelledText,
    read_examples,
    read_labelled_text,
)
from moe_zoo.training.text.corpus import Document
from tiny_texts import write_labelled


def test_a_file_is_split_by_its_texts(tmp_path):
    text = read_labelled_text(write_labelled(tmp_path / "texts.tsv"))
    assert text.labels == ("digits", "words")
    sizes = [len(part) for part in (text.train, text.validation, text.test)]
    assert sum(sizes) == 150 and min(sizes) >= 5 and sizes[0] > 100
    assert text == read_labelled_text(tmp_path / "texts.tsv")
    texts = {example.text for example in text.train}
    assert texts.isdisjoint(example.text for example in text.validation + text.test)


def test_a_folder_with_parts_in_either_form(tmp_path):
    (tmp_path / "train.csv").write_text(
        'label,text\nspam,"Buy, now"\nham,"She said ""no"""\nham,"two\nlines"\n'
    )
    (tmp_path / "dev.tsv").write_text('ham\t"quoted" stays\n\nspam\tmore\n')
    with gzip.open(tmp_path / "test.tsv.gz", "wt") as file:
        file.write("ham\tat last\n")
    text = read_labelled_text(tmp_path)
    assert text.train == (
        Example("spam", "Buy, now"),
        Example("ham", 'She said "no"'),
        Example("ham", "two\nlines"),
    )
    assert text.validation == (Example("ham", '"quoted" stays'), Example("spam", "more"))
    assert text.test == (Example("ham", "at last"),)


def test_texts_may_be_long_and_tables_are_as_strict_after_them(tmp_path):
    long = "word " * 50_000
    (tmp_path / "train.csv").write_text(f"ham,{long}\nspam,no\n")
    limit = csv.field_size_limit()
    assert read_examples(tmp_path / "train.csv")[0] == Example("ham", long.strip())
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.tsv": "a\tx\n", "val.tsv": "a\ty\n", "test.tsv": "a\tz\n"}, r"Received: a alone"),
        (
            {"train.tsv": "a\tx\nb\ty\n", "val.tsv": "a\ty\n", "test.tsv": "c\tz\n"},
            r"labels of the training part\. Received: 'c' in the test part alone",
        ),
        ({"train.tsv": "a\tx\nb y\n", "test.tsv": "a\tz\n"}, r"line 2, with 1 fields: 'b y'"),
        (
            {"train.csv": 'a,x\nb,"y\na,z\n', "test.tsv": "a\tz\n"},  # would be one text to the end
            r"in which quotes close\. Received: .*row in line 2 that does not",
        ),
        ({"train.csv": "a,x\nb,y,z\n", "test.tsv": "a\tz\n"}, r"with 3 fields: 'b \| y \| z'"),
        ({"train.tsv": "a\tx\nb\t \n", "test.tsv": "a\tz\n"}, r"line 2, with 2 fields"),
        ({"train.tsv": "a\tx\nb\ty\n"}, r"Expected a test part: test\.tsv or \.csv"),
        ({"train.tsv": "a\tx\n", "train.csv": "a,x\n", "test.tsv": "a\tz\n"}, r"one file for the"),
        ({"train.txt": "a\tx\n", "test.tsv": "a\tz\n"}, r"Received: .*with train\.txt\. Keep one"),
        (
            {"train.tsv": "a\tx\nb\ty\n", "test_1.tsv": "a\tz\n", "test_2.tsv": "a\tz\n"},
            r"one test part .*with test_1, test_2\. Keep only one of them",  # there is no --test
        ),
    ],
)
def test_folders_that_are_no_labelled_text(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, OSError), match=message):
        read_labelled_text(tmp_path)


def test_paths_that_are_no_labelled_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere', which does not exist"):
        read_labelled_text(tmp_path / "nowhere")
    (tmp_path / "texts.txt").write_text("a\tx\n")
    with pytest.raises(ValueError, match=r"in \.tsv or \.csv, gzipped or not\. Received:.*txt"):
        read_labelled_text(tmp_path / "texts.txt")


@pytest.mark.slow
def test_docstrings_are_balanced_and_belong_to_one_module():
    text = read_docstrings(num_labels=5)
    assert len(text.labels) == 5
    examples = text.train + text.validation + text.test
    counts = {label: sum(x.label == label for x in examples) for label in text.labels}
    assert max(counts.values()) == 300 and min(counts.values()) > 100
    assert len({x.text for x in examples}) == len(examples)
    assert 0.7 < len(text.train) / len(examples) < 0.9
    assert min(len(x.text) for x in examples) >= 40


def test_docstrings_of_a_source():
    long = "Forty characters and more, for it to say something."
    source = (
        f'"""{long} 1"""\nclass A:\n    """Short."""\n    async def f(x):\n        "{long} 2"\n'
    )
    assert sorted(docstrings_of(Document("a.py", source))) == [f"{long} 1", f"{long} 2"]
    assert not list(docstrings_of(Document("template.py", "def $name():")))
    with pytest.raises(ValueError, match=r"Expected at most \d+ labels.*num_labels=100000"):
        read_docstrings(num_labels=100_000)


def write_imdb(folder, reviews):
    index = {"the": 1, "film": 2, "was": 3, "good": 4, "bad": 5, "not": 6}
    (folder / "imdb_word_index.json").write_text(json.dumps(index))
    parts = {}
    for part, words in reviews.items():
        numbers = np.empty(len(words), object)
        numbers[:] = [[index[word] for word in text.split()] for text in words]
        parts[f"x_{part}"] = numbers
        parts[f"y_{part}"] = np.arange(len(words)) % 2
    np.savez(folder / "imdb.npz", **parts)


def test_imdb_reviews_as_words(tmp_path):
    """As `keras.datasets.imdb` stores them: lists of numbers from 1 on, labels 0 and 1."""
    train = [" ".join(["the film was"] + ["not"] * i + ["good"]) for i in range(60)]
    write_imdb(tmp_path, {"train": train, "test": ["the film was bad", "good"]})
    text = read_imdb(tmp_path)
    assert text.labels == ("negative", "positive")
    assert text.test == (Example("negative", "the film was bad"), Example("positive", "good"))
    assert sorted(x.text for x in text.train + text.validation) == sorted(train)
    assert 1 <= len(text.validation) <= 15


def test_imdb_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="without imdb.npz and imdb_word_index.json"):
        read_imdb(tmp_path)
    write_imdb(tmp_path, {"train": ["good"], "test": ["bad"]})
    (tmp_path / "imdb.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="as Keras downloads them. Received: path="):
        read_imdb(tmp_path)


def test_an_archive_that_would_fill_the_memory(tmp_path):
    write_imdb(tmp_path, {"train": ["good"], "test": ["bad"]})
    with zipfile.ZipFile(tmp_path / "imdb.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        with packed.open("x_train.npy", "w") as file:
            for _ in range(129):
                file.write(bytes(2**20))
    with pytest.raises(
        ValueError, match="x_train.npy has 135,266,304 bytes, more than 134,217,728"
    ):
        read_imdb(tmp_path)


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path, capsys):
    write_imdb(tmp_path, {"train": ["good"], "test": ["bad"]})
    array = np.empty(1, object)
    array[0] = Harmful()
    assert pickle.dumps(array)
    np.savez(tmp_path / "imdb.npz", x_train=array, y_train=[0], x_test=array, y_test=[0])
    with pytest.raises(ValueError, match="an array of lists does not need .*print"):
        read_imdb(tmp_path)
    assert not capsys.readouterr().out


def test_fingerprints_tell_parts_apart():
    a, b = Example("x", "1"), Example("y", "2")
    first, second = LabelledText((a, b), (a,), (b,)), LabelledText((a, b), (a, b), ())
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == LabelledText((a, b), (a,), (b,)).fingerprint
