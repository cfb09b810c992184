"""T5's tokenizer, on models made by hand; the original's ids stand in test_original_switch.py."""

import base64
import hashlib
import sys

import keras
import pytest
import tensorflow as tf

from moe_zoo.models import SentencepieceTokenizer, check_t5_vocabulary
from moe_zoo.models.tokenizers import sentencepiece_tokenizer as module
from sentencepiece_models import SPACE, field, make_model, toy_model

PIECES = 17  # three special ones, seven words and seven letters
THE, CAT, GAP, S, AT, ON = range(3, 9)


@pytest.fixture
def tokenizer():
    return SentencepieceTokenizer(toy_model())


def first(number):
    """The id of `<extra_id_k>`: they follow the pieces in reverse order."""
    return PIECES + 99 - number


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("the cat", [THE, CAT]),
        ("  the   cat ", [THE, CAT]),  # white space is one space
        ("", []),
        ("  ", []),
        ("the Q", [THE, GAP, 2]),  # no such piece
        ("the <extra_id_0> cat<extra_id_99>", [THE, first(0), CAT, first(99)]),
        ("<extra_id_10>s", [first(10), GAP, S]),  # each part begins with a space of its own
        ("the</s><pad> <unk>cat", [THE, 1, 0, 2, CAT]),
    ],
)
def test_encode_and_decode(tokenizer, text, ids):
    assert tokenizer.encode([text, "the"]).to_list() == [ids, [THE]]
    padded = tf.constant([[*ids, 1, 0, 0]])
    again = tokenizer.decode(padded).numpy()[0].decode()
    expected = " ".join(text.split()).replace("Q", "<unk>").replace(" <extra", "<extra")
    expected = expected.replace("_10>s", "_10> s").replace("</s><pad> <unk>cat", "<unk> cat")
    assert again == expected


def test_a_sentinel_that_there_is_none_of_is_text(tokenizer):
    assert max(tokenizer.encode(["<extra_id_100>"]).to_list()[0]) < PIECES


def test_ids_without_a_piece_have_no_text(tokenizer):
    wide = SentencepieceTokenizer(toy_model(), vocabulary_size=PIECES + 100 + 27)
    for ids in (
        [[THE, PIECES + 100, PIECES + 126, CAT]],
        tf.ragged.constant([[THE, PIECES + 101, CAT]]),
    ):
        assert wide.decode(ids).numpy().tolist() == [b"the cat"]
    assert wide.vocabulary_size == 144 and tokenizer.vocabulary_size == 117


def test_interface_of_a_tokenizer(tokenizer):
    assert (tokenizer.pad_id, tokenizer.end_id, tokenizer.unknown_id) == (0, 1, 2)
    assert tokenizer.begin_id == 0
    ids = tokenizer.encode(tf.constant(["the"]))
    assert isinstance(ids, tf.RaggedTensor) and ids.dtype == tf.int32
    assert tokenizer.encode(tf.constant([], tf.string)).shape[0] == 0
    with pytest.raises(ValueError, match=r"shape \[batch\]. Received: strings.shape=\(\)"):
        tokenizer.encode("the")


def test_the_vocabulary_has_to_fit_the_model():
    for size in (116, 117 + 128):
        with pytest.raises(ValueError, match=f"117 to 244 rows.*Received: vocabulary_size={size}"):
            SentencepieceTokenizer(toy_model(), size)
    with pytest.raises(ValueError, match="a whole number.*Received: vocabulary_size=117.5"):
        SentencepieceTokenizer(toy_model(), 117.5)


@pytest.mark.parametrize("model", ["spiece.model", None, 5, ["a"]])
def test_what_is_no_bytes_is_refused(model):
    with pytest.raises(
        ValueError, match=r"the bytes of a .* Received: model=.*Tokenizer.load\(path"
    ):
        SentencepieceTokenizer(model)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"abc", toy_model()[:50]):
        with pytest.raises(ValueError, match=f"Received: {len(content)} bytes that are none"):
            SentencepieceTokenizer(content)
    other = make_model([f"{SPACE}a"], special=("<unk>", "<pad>", "</s>"))
    with pytest.raises(ValueError, match="begins with.*<pad>.*Train it with pad_id=0"):
        SentencepieceTokenizer(other)
    with pytest.raises(FileNotFoundError):
        SentencepieceTokenizer.load(tmp_path / "none")
    with pytest.raises(ValueError, match="a whole number .* Received: vocabulary_size='120'"):
        SentencepieceTokenizer(toy_model(), "120")


def test_a_flipped_bit_is_found(tokenizer, tmp_path):
    path, beside = tmp_path / "spiece.model", tmp_path / "spiece.model.sha256"
    tokenizer.save(path)
    content = path.read_bytes()
    for bit in range(3, 8 * len(content), 101):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="sha256='[0-9a-f]{64}'.*the file is damaged"):
            SentencepieceTokenizer.load(path)
    beside.unlink()
    with pytest.raises(ValueError, match="the file is damaged"):
        SentencepieceTokenizer.load(path, sha256=tokenizer.fingerprint)
    config = keras.saving.serialize_keras_object(tokenizer)
    config["config"]["model"] = base64.b64encode(damaged).decode()
    with pytest.raises(ValueError, match="the file is damaged"):
        keras.saving.deserialize_keras_object(config)
    path.write_bytes(content)
    for digest in (None, tokenizer.fingerprint.upper()):  # some programs print capitals
        loaded = SentencepieceTokenizer.load(path, sha256=digest)
        assert loaded.fingerprint == tokenizer.fingerprint


def piece(text, *fields):
    return field(1, field(1, text) + b"".join(fields))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda model: model + b"\x00\x00", "fields do not fit into it"),
        (lambda model: model + field(6, "x"), "a field 6 of type 2, which no such model has"),
        (lambda model: model + field(1, 5), "a field 1 of type 0"),
        (lambda model: model + b"\x0b", "a field 1 of type 3"),
        (lambda model: model + b"\x08\x80", "it ends within a number"),
        (lambda model: model + b"\x0a\x7f", "fields do not fit into it"),
        (lambda model: model + b"\xff" * 11, "a number of more than 10 bytes"),
        (lambda model: model + piece("the") + piece("the"), "it has the piece 'the' twice"),
        (lambda model: model + piece(b"\xff"), "can't decode byte 0xff"),
        (lambda model: model + piece(""), "its piece ''"),
        (lambda model: model + piece("x", field(2, float("nan"))), "its piece 'x' has score nan"),
        (lambda model: model + piece("x", field(3, 7)), "and kind 7"),
        (lambda model: model + piece("x", field(4, 7)), "a piece has a field 4 of type 0"),
    ],
)
def test_damage_that_the_form_tells_needs_no_digest(tmp_path, damage, words):
    path = tmp_path / "spiece.model"
    path.write_bytes(damage(toy_model()))
    with pytest.raises(ValueError, match="Expected a SentencePiece model.*Download") as caught:
        SentencepieceTokenizer.load(path)
    assert words in str(caught.value)


def test_the_file_of_t5_is_known_by_its_bytes(tmp_path, monkeypatch):
    path = tmp_path / "spiece.model"
    path.write_bytes(toy_model())
    with pytest.raises(ValueError, match="T5's spiece.model: 32000 pieces in 791656 bytes"):
        check_t5_vocabulary(path)
    monkeypatch.setattr(module, "T5_BYTES", len(toy_model()))
    with pytest.raises(ValueError, match="sha256='d60acb.*the file is damaged"):
        SentencepieceTokenizer.load(path)
    monkeypatch.setattr(module, "T5_SHA256", hashlib.sha256(toy_model()).hexdigest())
    check_t5_vocabulary(path)


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "spiece.model")
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["spiece.model", "spiece.model.sha256"]
    config = keras.saving.serialize_keras_object(tokenizer)
    for twin in (
        SentencepieceTokenizer.load(tmp_path / "spiece.model"),
        keras.saving.deserialize_keras_object(config),
    ):
        assert twin.fingerprint == tokenizer.fingerprint
        assert twin.encode(["the <extra_id_3>"]).to_list() == [[THE, first(3)]]


def test_it_stands_inside_a_saved_model(tokenizer, tmp_path):
    served = tf.Module()
    served.tokenizer = tokenizer
    served.echo = tf.function(
        lambda text: tokenizer.decode(tokenizer.encode(text)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(served, tmp_path / "served")
    again = tf.saved_model.load(tmp_path / "served")
    assert again.echo(["the <extra_id_7>"]).numpy().tolist() == [b"the<extra_id_7>"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match="tensorflow-text~="):
        SentencepieceTokenizer(toy_model())
