"""Damaged files of every kind that is read: the same values, others, or an error in words.

A case is a kind of file, a valid one of it, and a few damages. It is right if reading it gives what
a file of that kind may hold, and refused if the error names the file and what is wrong. A crash, a
hang, another kind of error or an endless message is unclear; the runner sees the first two.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from .verdict import RIGHT, Verdict, of_error

PIECES = ["[pad]", "[unk]", "[begin]", "[end]"]
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
INTERESTING = (
    b"\x00",
    b"\x11",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"'",
    b"{",
    b"[" * 300,
    b"}",
    b",",
    b"\n",
    b"\r",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 40,
    b"null",
    b"true",
    b"&a [*a]",
    b"!!python/object:os.system",
    b"\xed\xa0\x80",
)


def draw(rng) -> dict:
    """A case: the kind of file, and seeds from which the file and its damages follow."""
    return {"kind": str(rng.choice(list(KINDS))), "seed": int(rng.integers(2**31))}


def check(case) -> Verdict:
    """Write the damaged file and read it."""
    rng = np.random.default_rng(case["seed"])
    name, make, read = KINDS[case["kind"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        make(path)
        path.write_bytes(damaged(path.read_bytes(), rng))
        try:
            read(path)
        except Exception as error:
            return of_error(error)
    return Verdict(RIGHT)


def damaged(data: bytes, rng) -> bytes:
    """One to three damages: bits, bytes, pieces that are cut, doubled, moved or put in."""
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(data) + 1))
        end = min(len(data), place + int(rng.integers(1, 20)))
        match int(rng.integers(6)):
            case 0 if data:
                place = min(place, len(data) - 1)
                flipped = bytes([data[place] ^ (1 << int(rng.integers(8)))])
                data = data[:place] + flipped + data[place + 1 :]
            case 1:
                data = data[:place]
            case 2:
                data = data[:place] + data[end:]
            case 3:
                data = data[:place] + data[place:end] * int(rng.choice([2, 3, 500])) + data[end:]
            case 4:
                data = data[:place] + INTERESTING[rng.integers(len(INTERESTING))] + data[end:]
            case _:
                data = data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]
    return data


# === The kinds ===


def _text(text):
    return lambda path: path.write_text(text, encoding="utf-8")


def _read_yaml(path):
    from moe_zoo.training.tables.table_settings import read_settings

    read_settings(path)


def _read_csv(path):
    from moe_zoo.training.tables.columns import NumberColumn, TextColumn
    from moe_zoo.training.tables.csv_table import read_csv

    columns = {"age": NumberColumn("age"), "city": TextColumn("city")}
    for batch in read_csv(path).batches(columns):
        assert len(batch["age"]) == len(batch["city"])


def _write_safetensors(path):
    from moe_zoo.models.huggingface.safetensors_file import write_tensors

    def tensor(*shape):
        return "float32", shape, lambda: np.ones(shape, np.float32)

    write_tensors(path, {"encoder.weight": tensor(2, 3), "decoder.weight": tensor(3, 1)})


def _read_safetensors(path):
    from moe_zoo.models.huggingface.safetensors_file import read_header

    for tensor in read_header(path).values():
        tensor.read()


def _write_vocabulary(path):
    from moe_zoo.training.tokenizer import Tokenizer, train_vocabulary

    Tokenizer(train_vocabulary(["one two three one two\n" * 5], 265)).save(path)


def _read_vocabulary(path):
    from moe_zoo.training.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)
    tokenizer.decode(tokenizer.encode(["one \x11 two\n"]))


def _read_run(path):
    from moe_zoo.training.run_folder import read_description

    read_description(path.parent)


def _read_lines(path):
    from moe_zoo.training.text_lines import read_lines

    read_lines(path)


def _read_pairs(path):
    from moe_zoo.training.translation.parallel_text import read_tab_separated

    list(read_tab_separated(path))


def _read_examples(path):
    from moe_zoo.training.classifier.labelled_text import read_examples

    list(read_examples(path))


def _read_switch_config(path):
    from moe_zoo.models.huggingface.config import read_config

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

KINDS = {
    "yaml": ("table.yaml", _text(YAML), _read_yaml),
    "csv": ("table.csv", _text(CSV), _read_csv),
    "safetensors": ("model.safetensors", _write_safetensors, _read_safetensors),
    "vocabulary": ("vocabulary.txt", _write_vocabulary, _read_vocabulary),
    "run": ("run.json", _text('{"recipe": "lstm_lm", "steps": 4, "seed": 0}'), _read_run),
    "lines": ("lines.txt", _text("one\ntwo\n"), _read_lines),
    "pairs": ("pairs.tsv", _text(TSV), _read_pairs),
    "examples": ("examples.csv", _text("label,text\nyes,one two\nno,three\n"), _read_examples),
    "switch": ("config.json", _text(SWITCH), _read_switch_config),
}
