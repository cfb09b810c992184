"""Kinds of files: the name of one, how it is written, and how it is read."""

import gzip
import json

import numpy as np
import pyarrow
from pyarrow import parquet

from moe_zoo.models.published.config import read_config
from moe_zoo.models.published.safetensors_file import read_header, write_tensors
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.training.recipes.classifier.labelled_text import read_examples
from moe_zoo.training.recipes.translation.parallel_text import read_tab_separated
from moe_zoo.training.runs.run_folder import read_description
from moe_zoo.training.tables.columns import ListColumn, NumberColumn, TextColumn, WholeColumn
from moe_zoo.training.tables.csv_table import read_csv
from moe_zoo.training.tables.table_data import open_table
from moe_zoo.training.tables.table_settings import read_settings
from moe_zoo.training.text.text_lines import read_lines

YAML = """tasks:
  click: binary
  price: {kind: regression, weight: 0.5}
features:
  age: number
  city: {kind: category, embedding_dim: 4}
  tags: {kind: list, separator: "|"}
format: {delimiter: ";", missing: ["", "?"]}
shares: {train: 0.8, validation: 0.1, test: 0.1}
"""
CSV = 'age,city,click\n31,"Rome, north",1\n,"Oslo",0\n45.5,"a ""b""",1\n'
TSV = "a man\tein Mann\na dog\tein Hund\n"


def _text(text):
    return lambda path: path.write_text(text, encoding="utf-8")


def _gzipped(text):
    return lambda path: path.write_bytes(gzip.compress(text.encode()))


def _read_csv(path):
    columns = {"age": NumberColumn("age"), "city": TextColumn("city")}
    for batch in read_csv(path).batches(columns):
        assert len(batch["age"]) == len(batch["city"])


def _write_parquet(path):
    columns = {
        "age": [31.0, None, 45.5] * 5,
        "city": ["Rome, north", "Oslo", None] * 5,
        "user": [3, 2**62, None] * 5,
        "films": [[1, 2], [], None] * 5,
    }
    parquet.write_table(pyarrow.table(columns), path, row_group_size=7, write_page_checksum=True)


def _read_parquet(path):
    table = open_table(path)
    for name in table.names(path):
        table.type_of(name)
    columns = {
        "age": NumberColumn("age"),
        "city": TextColumn("city"),
        "user": WholeColumn("user"),
        "films": ListColumn("films", dtype="int64"),
    }
    for batch in table.batches(columns):
        assert len({len(values) for values in batch.values()}) == 1


def _write_safetensors(path):
    def tensor(*shape):
        return "float32", shape, lambda: np.ones(shape, np.float32)

    write_tensors(path, {"encoder.weight": tensor(2, 3), "decoder.weight": tensor(3, 1)})


def _read_safetensors(path):
    for tensor in read_header(path).values():
        tensor.read()


def _write_vocabulary(path):
    Tokenizer(train_vocabulary(["one two three one two\n" * 5], 265)).save(path)


def _read_vocabulary(path):
    tokenizer = Tokenizer.load(path)
    tokenizer.decode(tokenizer.encode(["one \x11 two\n"]))


def _read_run(path):
    read_description(path.parent)


def _read_pairs(path):
    list(read_tab_separated(path))


def _read_examples(path):
    list(read_examples(path))


def _read_switch_config(path):
    read_config(path.parent)


SWITCH = json.dumps(
    {
        "model_type": "switch_transformers",
        "architectures": ["SwitchTransformersForConditionalGeneration"],
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 16,
        "num_heads": 2,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_experts": 3,
        "vocab_size": 32,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
        "expert_capacity": 4,
        "router_jitter_noise": 0.01,
        "layer_norm_epsilon": 1e-6,
    }
)

KINDS = {  # the name of a file, what writes it, and what reads it
    "yaml": ("table.yaml", _text(YAML), read_settings),
    "csv": ("table.csv", _text(CSV), _read_csv),
    "gzip": ("table.csv.gz", _gzipped(CSV), _read_csv),
    "parquet": ("table.parquet", _write_parquet, _read_parquet),
    "safetensors": ("model.safetensors", _write_safetensors, _read_safetensors),
    "vocabulary": ("vocabulary.txt", _write_vocabulary, _read_vocabulary),
    "run": ("run.json", _text('{"recipe": "lstm_lm", "steps": 4, "seed": 0}'), _read_run),
    "lines": ("lines.txt", _text("one\ntwo\n"), read_lines),
    "pairs": ("pairs.tsv", _text(TSV), _read_pairs),
    "examples": ("examples.csv", _text("label,text\nyes,one two\nno,three\n"), _read_examples),
    "switch": ("config.json", _text(SWITCH), _read_switch_config),
}
