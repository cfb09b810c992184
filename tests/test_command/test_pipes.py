"""Named pipes in place of files: each reader refuses one, and waits for nobody."""

import os

import pytest

from moe_zoo.files.digests import digest, read_json
from moe_zoo.models import SentencepieceTokenizer
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.training.recipes.classifier.labelled_text import read_labelled_text
from moe_zoo.training.recipes.translation.parallel_text import read_parallel_text
from moe_zoo.training.tables.csv_table import read_csv
from moe_zoo.training.tables.table_data import open_table
from moe_zoo.training.text.corpus import read_corpus
from moe_zoo.training.text.text_lines import read_lines

READERS = (
    digest,
    open_table,
    read_corpus,
    read_csv,
    read_json,
    read_labelled_text,
    read_lines,
    read_parallel_text,
    SentencepieceTokenizer.load,
    Tokenizer.load,
)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__qualname__)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused(tmp_path, reader):
    pipe = tmp_path / "pipe.tsv"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"Expected a file to read\..*pipe.tsv', which is a named"):
        reader(pipe)


def test_a_named_pipe_in_a_folder_of_tables(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    os.mkfifo(tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"b.csv', which is a named pipe"):
        read_csv(tmp_path)
