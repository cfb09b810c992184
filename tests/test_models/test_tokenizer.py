import re
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from conftest import full_disk
from moe_zoo.models.tokenizers import tokenizer as module
from moe_zoo.models.tokenizers import words
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.models.tokenizers.vocabulary import (
    BYTES,
    SPECIAL_PIECES,
    learn_vocabulary,
    load_vocabulary,
    save_vocabulary,
)

CODE = '''class Greeter:
    """Says hello, in German: Grüß Gott."""

    def greet(self, name="world", *, times=12):
        for _ in range(times):
            print(f"hello, {name}")  # a comment


\tif True:\r
        return self.greet_again(name, times - 1)
'''


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_vocabulary([CODE * 5], size=400))


def pieces(tokenizer, text):
    vocabulary = tokenizer.vocabulary
    return [vocabulary[i] for i in tokenizer.encode([text]).numpy()[0]]


def decoded(tokenizer, texts):
    return [text.decode() for text in tokenizer.decode(tokenizer.encode(texts)).numpy()]


# === There and back ===


def test_code_comes_back_with_every_space_and_line(tokenizer):
    assert decoded(tokenizer, [CODE, "", "\n\n    x", CODE[::-1]]) == [
        CODE,
        "",
        "\n\n    x",
        CODE[::-1],
    ]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # surrogates are no text
CODE_LIKE = st.text(st.sampled_from("ab_Z09 \n\t\r\v\f\0#[]().▁ĀÃé\u2028🦊"), max_size=60)


@given(st.lists(ANY_TEXT | CODE_LIKE, min_size=1, max_size=4))
def test_every_text_of_every_language_comes_back(tokenizer, texts):
    assert decoded(tokenizer, texts) == texts


@given(CODE_LIKE)
def test_no_text_has_an_unknown_or_special_token(tokenizer, text):
    ids = tokenizer.encode([text, "[UNK][BOS] [PAD]"]).flat_values.numpy()
    assert np.all(ids >= len(SPECIAL_PIECES))


def test_a_long_word_is_no_unknown_token(tokenizer):
    text = "q" * 5003 + " " * 1009 + "\n" * 1013
    assert decoded(tokenizer, [text]) == [text]


def test_special_tokens_have_no_text_and_unknown_ones_a_mark(tokenizer):
    (ids,) = tokenizer.encode(["return self"]).to_list()
    assert tokenizer.decode([[2, *ids, 0, 0]]).numpy() == b"return self"
    assert tokenizer.decode([[1, *ids]]).numpy()[0].decode() == "\ufffdreturn self"


def test_a_text_that_ends_inside_a_character_is_still_utf_8(tokenizer):
    fox = [tokenizer.vocabulary.index(chr(byte)) for byte in "🦊".encode()]
    assert tokenizer.decode([fox]).numpy()[0].decode() == "🦊"
    assert tokenizer.decode([fox[:2]]).numpy()[0].decode() == "\ufffd"


def test_bytes_that_are_no_pieces_make_their_word_unknown():
    tokenizer = Tokenizer([*SPECIAL_PIECES, "a", "b", " ", "ab"])
    assert tokenizer.encode(["ab ab", "ba", "abx ab", "\0 a", ""]).to_list() == [
        [6, 5, 6],
        [4, 3],
        [1, 5, 6],
        [1, 5, 3],
        [],
    ]


# === How text is cut ===


def slow_pieces(text, vocabulary):
    """Python's own regular expressions, then the longest known beginning, again and again."""
    known, found = set(vocabulary), []
    pattern = words.WORDS.replace(r"\x{80}-\x{ff}", "\x80-\xff").replace(r"\s", r"[\t\n\f\r ]")
    pattern = pattern.replace(r"[^[\t\n\f\r ]", r"[^\t\n\f\r ")  # inside a set of characters
    for word in re.findall(pattern, text.encode().decode("latin-1")):
        while word:
            length = max(n for n in range(1, len(word) + 1) if word[:n] in known)
            found.append(word[:length])
            word = word[length:]
    return found


@given(CODE_LIKE | st.sampled_from([CODE, CODE[7:], "self.greet_again(names", "returning None"]))
def test_pieces_are_the_longest_ones(tokenizer, text):
    assert pieces(tokenizer, text) == slow_pieces(text, tokenizer.vocabulary)


def test_words_carry_their_space_and_lines_their_indentation(tokenizer):
    assert pieces(tokenizer, "\n        return self.greet(name") == [
        "\n        ",
        "return",
        " self",
        ".greet",
        "(name" if "(name" in tokenizer.vocabulary else "(",
        *([] if "(name" in tokenizer.vocabulary else ["name"]),
    ]


@given(st.lists(st.sampled_from(["a\n", "\n", "\n\n  ", "bc d", "  e", "."]), max_size=40))
def test_chunks_have_the_tokens_of_the_whole(tokenizer, parts):
    text = "".join(parts)
    size = words.CHUNK_CHARACTERS
    words.CHUNK_CHARACTERS = 3
    try:
        chunks = list(words.split_lines(text))
    finally:
        words.CHUNK_CHARACTERS = size
    assert "".join(chunks) == text
    whole = tokenizer.encode([text]).numpy()[0]
    if chunks:
        assert np.array_equal(whole, tokenizer.encode(chunks).flat_values)
    if "a\nb" in text[3:-1]:
        assert len(chunks) > 1


# === Learning ===


def slow_byte_pair_encoding(counts, size):
    words = {word: list(word) for word in counts}
    vocabulary = [*SPECIAL_PIECES, *BYTES]
    while len(vocabulary) < size:
        pairs = {}
        for word, symbols in words.items():
            for i in range(len(symbols) - 1):
                pair = (symbols[i], symbols[i + 1])
                pairs[pair] = pairs.get(pair, 0) + counts[word]
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pair for pair in pairs if pairs[pair] == max(pairs.values()))
        if "".join(best) not in vocabulary:
            vocabulary.append("".join(best))
        for word, symbols in words.items():
            i, merged = 0, []
            while i < len(symbols):
                if tuple(symbols[i : i + 2]) == best:
                    merged.append("".join(best))
                    i += 2
                else:
                    merged.append(symbols[i])
                    i += 1
            words[word] = merged
    return vocabulary


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=9), st.integers(1, 20), max_size=12),
    st.integers(259, 290),
)
def test_learning_equals_the_slow_reference(counts, size):
    assert learn_vocabulary(counts, size) == slow_byte_pair_encoding(counts, size)


def test_the_order_of_the_texts_does_not_matter():
    texts = [CODE, "one two three " * 9, "four five six " * 7]
    assert train_vocabulary(texts, 300) == train_vocabulary(texts[::-1], 300)


def test_the_size_is_kept():
    assert len(train_vocabulary([CODE * 5], size=281)) == 281
    assert len(train_vocabulary(["ab"], size=281)) == 259  # no pair occurs twice
    assert train_vocabulary([CODE], size=259) == [*SPECIAL_PIECES, *BYTES]


def test_large_texts_are_sampled(monkeypatch):
    monkeypatch.setattr(words, "CHUNK_CHARACTERS", 10)
    monkeypatch.setattr(module, "SAMPLE_CHARACTERS", 1000)
    text = "even lines\nodd numbers\n" * 500  # 11,500 characters: every twelfth of 1,000 chunks
    assert "even" in train_vocabulary([text], 300)


def test_too_small_a_size_and_no_text_are_refused():
    with pytest.raises(ValueError, match="at least 259 pieces.*size=258"):
        train_vocabulary([CODE], size=258)
    with pytest.raises(ValueError, match="texts to learn from. Received: texts='ab'. Put a single"):
        train_vocabulary("ab", size=300)
    with pytest.raises(ValueError, match="Expected some text"):
        train_vocabulary(["", ""], size=300)


# === In graphs and files ===


def test_works_in_a_function_with_unknown_batch(tokenizer):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def there_and_back(texts):
        ids = tokenizer.encode(texts)
        return tokenizer.decode(ids), tokenizer.decode(ids.to_tensor()), ids.row_lengths()

    for texts in (["def f():\n", "x"], ["", "a", CODE], []):
        ragged, dense, lengths = there_and_back(tf.constant(texts, tf.string))
        expected = [text.encode() for text in texts]
        assert ragged.numpy().tolist() == dense.numpy().tolist() == expected
        assert (lengths == 0).numpy().tolist() == [not text for text in texts]


def test_works_in_tf_data(tokenizer):
    texts = tf.data.Dataset.from_tensor_slices([CODE, "x = 1\n"]).batch(2)
    (ids,) = texts.map(tokenizer.encode)
    assert ids.dtype == tf.int32
    assert ids.to_list() == tokenizer.encode([CODE, "x = 1\n"]).to_list()


@pytest.mark.slow
def test_a_saved_model_holds_the_vocabulary(tokenizer, tmp_path):
    """A fresh process knows only tensorflow and tensorflow_text."""
    exported = tf.Module()
    exported.tokenizer = tokenizer
    signature = [tf.TensorSpec([None], tf.string)]
    exported.encode = tf.function(lambda x: tokenizer.encode(x).to_tensor(), signature)
    exported.decode = tf.function(tokenizer.decode, [tf.TensorSpec([None, None], tf.int32)])
    tf.saved_model.save(exported, tmp_path / "model")
    program = f"""if True:
        import sys
        import tensorflow as tf
        import tensorflow_text
        model = tf.saved_model.load({str(tmp_path / "model")!r})
        ids = model.encode(tf.constant([{CODE!r}, "x"]))
        print(repr((ids.numpy().tolist(), model.decode(ids).numpy()[0].decode())))
        assert not [name for name in sys.modules if name.startswith("moe_zoo")]
    """
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    ids, text = eval(run.stdout.splitlines()[-1])
    assert ids == tokenizer.encode([CODE, "x"]).to_tensor().numpy().tolist()
    assert text == CODE


def test_keras_serialises_it(tokenizer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tokenizer))
    assert copy.vocabulary == tokenizer.vocabulary
    assert copy.fingerprint == tokenizer.fingerprint


def test_a_file_keeps_every_piece(tokenizer, tmp_path):
    path = tmp_path / "vocabulary.txt"
    tokenizer.save(path)
    copy = Tokenizer.load(path)
    assert copy.vocabulary == tokenizer.vocabulary
    assert copy.vocabulary_size == len(tokenizer.vocabulary)
    assert (
        len(path.read_text(encoding="utf-8").splitlines()) == copy.vocabulary_size + 1
    )  # newline pieces are escaped
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.txt"]


@given(st.lists(st.text(st.characters(max_codepoint=255), min_size=1), unique=True))
def test_a_file_keeps_any_piece(tmp_path_factory, learned):
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    vocabulary = [*SPECIAL_PIECES, *(p for p in learned if p not in SPECIAL_PIECES)]
    save_vocabulary(vocabulary, path)
    assert load_vocabulary(path) == vocabulary


def test_a_failed_save_leaves_the_old_file(tokenizer, tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text("old")
    with full_disk(), pytest.raises(OSError, match="too large"):
        tokenizer.save(path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("vocabulary.txt", "old")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:-1],
        lambda text: text.replace("self", "selb"),
        lambda text: text.replace("\nself", "\n\\xzz"),
        lambda text: text + "more\n",
        lambda text: "",
        lambda text: "[PAD]\n[UNK]\n[BOS]\na\n",
        lambda text: "\x00\udcff",
    ],
)
def test_a_damaged_file_is_refused(tokenizer, tmp_path, damage):
    path = tmp_path / "vocabulary.txt"
    tokenizer.save(path)
    damaged = damage(path.read_text(encoding="utf-8"))
    path.write_text(damaged, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"vocabulary\.txt.*the file is damaged"):
        Tokenizer.load(path)


def test_a_flipped_bit_of_a_file_is_found(tmp_path):
    path = tmp_path / "vocabulary.txt"
    pieces = [*SPECIAL_PIECES, "a b", "\n ", "\x11", "ä", "\\"]
    save_vocabulary(pieces, path)
    content = path.read_bytes()
    assert load_vocabulary(path) == pieces
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="the file is damaged"):
            load_vocabulary(path)
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="the file is damaged"):
        load_vocabulary(path)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (["a", "b"], "begins with.*PAD.*Received: vocabulary=.'a', 'b'."),
        (["[UNK]", "[PAD]", "[BOS]"], "begins with"),
        ([*SPECIAL_PIECES, "a", "b", "a"], "1 repeated pieces, such as 'a'"),
        ([*SPECIAL_PIECES, ""], "the piece ''"),
        (
            [*SPECIAL_PIECES, "a", 1],
            "pieces that are strings. Received: .* with 1 of type int. Decode",
        ),
        ([*SPECIAL_PIECES, b"a"], "with b'a' of type bytes. Decode bytes by 'latin-1'"),
        (
            "vocabulary.txt",
            r"a list of pieces. Received: vocabulary='voc.*or use Tokenizer.load\(path",
        ),
        (None, "a list of pieces. Received: vocabulary=None"),
        ([*SPECIAL_PIECES, "é" * 129], "at most 256 bytes.*of 129 characters"),
        ([*SPECIAL_PIECES, "猫"], "U.0000 to U.00FF.*the piece '猫'"),
    ],
)
def test_a_wrong_vocabulary_is_named(vocabulary, message):
    with pytest.raises(ValueError, match=message):
        Tokenizer(vocabulary)


def test_a_single_string_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"shape \[batch\].*strings.shape=\(\)"):
        tokenizer.encode("text")
    for strings in (None, [1], [None], ["a", 2.0], [["a"], ["b", "c"]]):
        with pytest.raises(
            ValueError, match=r"strings of shape \[batch\]. Received: .*Give a list"
        ):
            tokenizer.encode(strings)


def test_what_is_no_id_is_refused(tokenizer):
    for ids, kind in (
        ([["a"]], "string"),
        ([[1.5]], "float32"),
        (np.array([[1.5]]), "float64"),
        (tf.constant([[True]]), "bool"),
    ):
        with pytest.raises(ValueError, match=f"ids of whole numbers. Received: dtype={kind}. Give"):
            tokenizer.decode(ids)


def test_without_tensorflow_text_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ImportError, match=r"pip install 'tensorflow-text~=2\.\d+\.0'.*Windows"):
        Tokenizer([*SPECIAL_PIECES, "a"])


def test_a_megabyte_takes_seconds(tokenizer):
    text = CODE * (1_000_000 // len(CODE))
    start = time.perf_counter()
    tokenizer.encode([text])
    assert time.perf_counter() - start < 5
