"""Files of a checkpoint that are damaged, contradict each other or belong to another model."""

import json
import shutil

import numpy as np
import pytest

import switch_checkpoints as checkpoints
from moe_zoo.models import TransformerSeq2Seq
from moe_zoo.models.published.config import SwitchConfig, config_json, read_config
from moe_zoo.models.published.safetensors_file import read_header, write_tensors
from moe_zoo.models.transformer.stack import sparse_blocks

EXPERT = "encoder.block.1.layer.1.mlp.experts.expert_3.wi.weight"
QUERY = "decoder.block.1.layer.1.EncDecAttention.q.weight"


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint with changes; returns its folder."""

    def write(changes=(), drop=(), add=(), **form):
        config = checkpoints.SMALL | dict(changes)
        tensors = checkpoints.random_tensors(config) | dict(add)
        for name in drop:
            del tensors[name]
        return checkpoints.write_checkpoint(tmp_path / "model", config, tensors, **form)

    return write


def refused(folder, *words, error=ValueError):
    with pytest.raises(error) as caught:
        TransformerSeq2Seq.from_huggingface(folder)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
    return str(caught.value)


# === Tensors ===


def test_missing_surplus_and_misshaped_tensors_are_all_named(checkpoint):
    wrong = np.zeros((15, 11), "float32")
    folder = checkpoint(drop=[EXPERT], add={QUERY: wrong, "decoder.lm_head.weight": wrong})
    message = refused(folder, "config.json describes", "of the same checkpoint")
    assert f"missing: {EXPERT}\n" in message
    assert "surplus: decoder.lm_head.weight\n" in message
    assert f"misshaped: {QUERY} [15, 11] in place of [15, 13]\n" in message


def test_an_alias_of_another_shape_or_other_values_is_refused(checkpoint):
    small, other = np.zeros((3, 2), "float32"), np.zeros((97, 13), "float32")
    refused(checkpoint(add={"lm_head.weight": small}), "lm_head.weight [3, 2] in place of [97, 13]")
    folder = checkpoint(add={"lm_head.weight": other, "encoder.embed_tokens.weight": other})
    refused(folder, "other values in encoder.embed_tokens.weight, lm_head.weight", "tie_word")


def test_an_untied_checkpoint_needs_its_head(checkpoint):
    refused(checkpoint({"tie_word_embeddings": False}), "missing: lm_head.weight\n")


def test_sparse_blocks_have_to_agree_with_the_config(checkpoint):
    folder = checkpoint()
    config = checkpoints.SMALL | {"encoder_sparse_step": 3}
    (folder / "config.json").write_text(json.dumps(config))
    refused(
        folder, "encoder's blocks [1], as the steps", "routers in [1, 3]", "encoder_sparse_step"
    )
    many = {"num_layers": 10**9, "num_experts": 10**9}
    (folder / "config.json").write_text(json.dumps(checkpoints.SMALL | many))
    refused(folder, "num_layers=1000000000, num_experts=1000000000 and ", "these tensors")


# === Files ===


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_truncated_files_are_named(checkpoint, size):
    file = checkpoint() / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:size])
    refused(file.parent, str(file), "Expected a whole safetensors file", "again")


def entry(shape="[1]", offsets="[0, 4]", more=""):
    return f'{{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}{more}}}'


def one(*args, **kwargs):
    """A header of one tensor."""
    return f'{{"x": {entry(*args, **kwargs)}}}'


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("no json", "does not begin with {"),
        ("[1, 2]", "does not begin with {"),
        (" " + one(), "does not begin with {"),
        ('{"x": {"dtype": "F32"}}', "with ['dtype'] for 'x', not ['data_offsets', "),
        ('{"x": 5}', "with 5 for 'x'"),
        (one(more=', "y": 1'), "'y'] for 'x'"),
        (one(more=', "shape": [1]'), "Repeated(name='shape') for 'x'"),
        (f'{{"x": {entry()}, "x": {entry()}}}', "with two tensors named 'x'"),
        (one("[2]"), "with 4 bytes for 'x', F32 of shape [2]"),
        (one("[-1]", "[4, 0]"), "with shape [-1] for 'x'"),
        (one("[-1, -1]"), "with shape [-1, -1] for 'x'"),
        (one("[1.0]"), "with shape [1.0] for 'x'"),
        (one("[true]"), "with shape [True] for 'x'"),
        (one("[NaN]"), "with shape [nan] for 'x'"),
        (one('["1"]'), "with shape ['1'] for 'x'"),
        (one("1"), "with shape 1 for 'x'"),
        (one("null"), "with shape None for 'x'"),
        (one("[" + "1, " * 32 + "1]"), "with shape [1, 1, 1, 1, 1, 1, ...] for 'x'"),
        (one("[" + f"{2**62}, " * 99_999 + "1]"), "...] for 'x'"),  # its product takes minutes
        (one(f"[{2**63}, 0]", "[0, 0]"), "with shape [9223372036854775808, 0]"),
        (one("[" * 99 + "]" * 99), "with shape [[[[...]]]] for 'x'"),
        (one("[" * 99999 + "]" * 99999), "nested too deeply"),
        (one(offsets='["0", "4"]'), "with data_offsets ['0', '4'] for 'x'"),
        (one(offsets="[0, 4, 4]"), "with data_offsets [0, 4, 4] for 'x'"),
        (one(offsets="[0]"), "with data_offsets [0] for 'x'"),
        (one(offsets="[false, 4]"), "with data_offsets [False, 4] for 'x'"),
        (one(offsets="[0, 1e999]"), "with data_offsets [0, nan] for 'x'"),
        (f'{{"x": {entry()}, "y": {entry()}}}', "'y' begins at 0, where it overlaps"),
        (f'{{"y": {entry(offsets="[8, 12]")}, "x": {entry()}}}', "'y' begins at 8, where it"),
        (one(offsets="[4, 8]"), "'x' begins at 4, where it comes after a hole"),
        (one("[2]", "[0, 8]"), "4 bytes long after its header in place of 8"),
        ('{"x": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}}', "with dtype 5 for 'x'"),
        ('{"x": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}', "dtype ['F32'] for"),
        ('{"__metadata__": {"a": 1}}', "__metadata__ that is no map of text"),
        ('{"x' + "y" * 999 + '": 5}', "yyy', not ["),
        ("{}", "4 bytes long after its header in place of 0"),
    ],
)
def test_wrong_headers_are_refused(tmp_path, header, words):
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    with pytest.raises(ValueError, match="Expected a whole safetensors file.*x.safeten") as caught:
        read_header(file)
    assert words in str(caught.value) and len(str(caught.value)) < 700


def test_headers_are_bounded_as_the_format_says(tmp_path):
    file = tmp_path / "x.safetensors"
    for length in (100_000_001, 2**63, 2**64 - 1):
        with open(file, "wb") as opened:
            opened.write(length.to_bytes(8, "little"))
            opened.truncate(100_000_100)  # without its zeros being written
        with pytest.raises(ValueError, match="does not fit into it|of which 100 MB are allowed"):
            read_header(file)


def test_tensors_without_values_are_read(tmp_path):
    shapes = {"none": (2**40, 0), "scalar": (), "row": (3,)}
    texts = [
        f'"{name}": {entry(json.dumps(shape), offsets)}'
        for (name, shape), offsets in zip(
            shapes.items(), ("[0, 0]", "[0, 4]", "[4, 16]"), strict=True
        )
    ]
    header = "{" + ", ".join(texts) + "}"
    values = np.array([2, 3, 5, 7], "float32")
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + values.tobytes())
    tensors = read_header(file)
    assert tensors["scalar"].read() == 2 and tensors["scalar"].read().shape == ()
    np.testing.assert_array_equal(tensors["row"].read(), values[1:])
    assert tensors["none"].shape == (2**40, 0) and list(tensors["none"].parts()) == []


def test_other_dtypes_are_named(tmp_path):
    header = b'{"x": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}'
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="F32, F16, BF16. Received: .*'x' is 'I64'"):
        read_header(file)


def test_shards_have_to_be_complete_and_as_the_index_says(checkpoint):
    folder = checkpoint(shards=3)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    places["weight_map"]["shared.weight"] = "model-00001-of-00003.safetensors"
    places["weight_map"][EXPERT] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(places))
    refused(folder, str(index), "another place for ['", "index and shards of the same version")
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "['model-00002-of-00003.safetensors']", error=FileNotFoundError)
    for text, words in (
        ("{}", "weight_map is None"),
        ('{"weight_map": {"x": 5}}', "'x' is in 5"),
        ('{"weight_map": {"x": "../x.safetensors"}}', "'x' is in '../x.safetensors'"),
        ('{"weight_map": {"x": "a", "x": "b"}}', "weight_map is Repeated(name='x')"),
        ('{"weight_map": NaN}', "weight_map is nan"),
        ("[" * 99999, "nested too deeply"),
    ):
        index.write_text(text)
        refused(folder, "index with a weight_map", str(index), words)


def test_a_tensor_in_two_shards_is_refused(checkpoint):
    folder = checkpoint(shards=3)
    shutil.copy(folder / "model-00001-of-00003.safetensors", folder / "copy.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(
        index.read_text().replace("model-00002-of-00003.safetensors", "copy.safetensors")
    )
    refused(folder, "Expected every tensor in one shard", "copy.safetensors and model-00001")


def test_files_of_torch_are_refused_with_the_way_to_convert_them(checkpoint):
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refused(folder, "model.save_pretrained(", error=FileNotFoundError)
    snippet = message.split(":\n", 1)[1]
    compile("\n".join(line.strip() for line in snippet.splitlines()), "snippet", "exec")
    assert f"from_pretrained({str(folder)!r})" in snippet
    (folder / "pytorch_model.bin").unlink()
    refused(folder, "without either", error=FileNotFoundError)


def test_a_folder_without_config_is_refused(tmp_path):
    refused(tmp_path, str(tmp_path), "without config.json", error=FileNotFoundError)


def test_numbers_are_read_as_another_writer_wrote_them(tmp_path):
    """Every pattern of 16 bits, and parts of rows."""
    from moe_zoo.models.published import safetensors_file

    bits = np.arange(1 << 16, dtype="uint16").reshape(256, 256)
    tensors = {name: bits.view(checkpoints.dtype_of(name)) for name in ("bfloat16", "float16")}
    checkpoints.write_safetensors(tmp_path / "x", tensors)
    for name, stored in read_header(tmp_path / "x").items():
        expected = tensors[name].astype("float32")
        np.testing.assert_array_equal(stored.read(), expected)
        for part in (256 * 4 * 7, 1):  # seven rows, and less than one
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(safetensors_file, "PART", part)
                parts = dict(stored.parts())
            assert len(parts) == (37 if part > 1 else 256)
            np.testing.assert_array_equal(np.concatenate([*parts.values()]), expected)


def test_what_is_written_another_reader_reads(tmp_path):
    draw = np.random.default_rng(0)
    values = {"a": draw.normal(size=(2, 3)).astype("float32"), "b": np.ones(5, "float32")}
    for dtype in map(checkpoints.dtype_of, checkpoints.CODES):
        entries = {name: (dtype, x.shape, lambda x=x: x) for name, x in values.items()}
        write_tensors(tmp_path / "x", entries)
        again = checkpoints.read_safetensors(tmp_path / "x")
        for name, x in values.items():
            assert again[name].dtype == dtype
            np.testing.assert_array_equal(again[name], x.astype(dtype))


# === Config ===


def config_of(tmp_path, **changes):
    values = {k: v for k, v in (checkpoints.SMALL | changes).items() if v is not ...}
    (tmp_path / "config.json").write_text(json.dumps(values))
    return read_config(tmp_path)


@pytest.mark.parametrize(
    ("layers", "number", "blocks"),
    [  # SWITCH: layers // number is the step, and block b is sparse if b mod step is 1
        (12, 6, [1, 3, 5, 7, 9, 11]),
        (12, 5, [1, 3, 5, 7, 9, 11]),
        (12, 7, list(range(12))),
        (12, 4, [1, 4, 7, 10]),
        (12, 1, [1]),
        (12, 0, [1]),
        (1, 0, [0]),
    ],
)
def test_a_missing_step_is_computed_as_the_original_does(tmp_path, layers, number, blocks):
    config = config_of(
        tmp_path, num_layers=layers, num_sparse_encoder_layers=number, encoder_sparse_step=...
    )
    assert sparse_blocks(layers, config.moe_every) == blocks


def test_a_step_in_the_file_wins(tmp_path):
    config = config_of(tmp_path, num_layers=12, num_sparse_encoder_layers=6, encoder_sparse_step=4)
    assert config.moe_every == 4


def test_left_out_fields_have_the_originals_values(tmp_path):
    names = ("expert_capacity", "num_decoder_layers", "decoder_start_token_id", "pad_token_id")
    config = config_of(tmp_path, **dict.fromkeys(names, ...), tie_word_embeddings=...)
    assert (config.expert_capacity, config.num_decoder_layers, config.tied) == (64, 4, True)
    assert (config.begin_id, config.pad_id) == (0, 0)
    (tmp_path / "config.json").write_text('{"model_type": "switch_transformers"}')
    config = read_config(tmp_path)
    assert (config.width, config.hidden_dim, config.num_experts) == (768, 2048, 8)


def test_a_config_written_is_read_as_it_was(tmp_path):
    config = config_of(tmp_path, eos_token_id=[7, 5], dense_act_fn="gelu")
    assert (config.end_id, config.activation) == (7, "gelu")
    (tmp_path / "config.json").write_text(json.dumps(config_json(config, "float32")))
    assert read_config(tmp_path) == config
    assert isinstance(config, SwitchConfig)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "t5"}, "Only Switch Transformers"),
        ({"d_model": 4096, "num_experts": 128}, "switch-xxl-128: it was trained with 24 + 24"),
        ({"d_model": 2080, "num_experts": 2048}, "switch-c-2048: it was trained with 15 + 15"),
        ({"is_gated_act": True}, "Expected ungated layers"),
        ({"feed_forward_proj": "gated-gelu"}, "feed_forward_proj='gated-gelu'"),
        ({"dense_act_fn": "gelu_new"}, "dense_act_fn='gelu_new'"),
        ({"router_bias": True}, "routers without bias. Received: router_bias=True"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"num_layers": "four"}, "num_layers='four'"),
        ({"dropout_rate": 2}, "dropout_rate=2"),
        ({"layer_norm_epsilon": float("inf")}, "layer_norm_epsilon=nan"),
        ({"num_layers": 10**12}, "from 1 to 2147483647. Received: num_layers=1000000000000"),
        ({"num_experts": True}, "num_experts=True"),
        ({"d_model": [13]}, "d_model=[13]"),
        ({"dense_act_fn": ["relu"]}, "dense_act_fn=['relu']"),
        ({"model_type": ["switch_transformers"]}, "model_type=['switch_transformers']"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings='false'"),
        ({"pad_token_id": 97}, "from 0 to 96. Received: pad_token_id=97"),
        ({"eos_token_id": [-1]}, "eos_token_id=-1"),
    ],
)
def test_other_models_are_refused_with_the_reason(tmp_path, changes, words):
    with pytest.raises(ValueError, match="config.json cannot be used") as caught:
        config_of(tmp_path, **changes)
    assert words in str(caught.value)


def test_a_damaged_config_is_named(tmp_path):
    for text in ("{", "[]", "", "\xff", "[" * 99999, '{"d_model": 13, "d_model": 14}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="config.json cannot be used"):
            read_config(tmp_path)
