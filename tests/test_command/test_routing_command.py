"""`moe-zoo routing`: texts and the experts of their tokens, in the terminal."""

import re
import sys
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from matplotlib import image

from conftest import slow_but
from moe_zoo.analysis.routing import RoutedText, RoutedTokens
from moe_zoo.analysis.routing_page import COLORS, write_routing_page
from moe_zoo.analysis.routing_pictures import by_position, most_frequent
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.models import TransformerClassifier, TransformerLanguageModel, TransformerSeq2Seq
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.routers import GShardRouter, SwitchRouter
from moe_zoo.training.cli import main
from moe_zoo.training.cli.routing import colored, table, wants_color
from moe_zoo.training.runs.routed_text import route_texts, text_examples

pytest.importorskip("tensorflow_text")
E, D = 3, 8
TEXTS = ["drei vier fünf", "acht"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_vocabulary(["drei vier fünf acht neun\n" * 9], 270))


def mixture(router=None):
    router = router or SwitchRouter(eval_capacity_factor=None)
    return MoE(router, FeedForwardExperts(E, 16), name="moe")


def make(kind, size, router=None):
    parts = (2, Attention(2), FeedForward(16), mixture(router))
    if kind == "classifier":
        return TransformerClassifier(size, 5, D, *parts)
    return {"lm": TransformerLanguageModel, "seq2seq": TransformerSeq2Seq}[kind](size, D, *parts)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    """What `moe-zoo routing` needs of a finished run."""
    path = tmp_path_factory.mktemp("run")
    router = GShardRouter(top_k=2, eval_capacity_factor=0.5, min_capacity=1)
    keras.utils.set_random_seed(3)
    make("lm", tokenizer.vocabulary_size, router).save(path / "model.keras")
    tokenizer.save(path / "vocabulary.txt")
    return path


# === Texts through models ===


@pytest.mark.parametrize("kind", slow_but(["lm", "classifier"], ["lm", "classifier", "seq2seq"]))
def test_what_layers_see_of_texts(kind, tokenizer):
    model = make(kind, tokenizer.vocabulary_size)
    found = route_texts(model, tokenizer, TEXTS)
    encoded = tokenizer.encode(TEXTS).to_list()
    for path, text in found.items():
        real = text.routed.real.reshape(text.ids.shape)
        rows = [ids[mask].tolist() for ids, mask in zip(text.ids, real, strict=True)]
        if path.startswith("encoder") and kind == "seq2seq":
            assert rows == [[*ids, tokenizer.end_id] for ids in encoded]
        elif kind == "seq2seq":  # what the model wrote, whatever that is
            assert all(ids[0] == tokenizer.begin_id for ids in rows)
        else:
            begin = [tokenizer.begin_id] if kind == "lm" else []
            assert rows == [begin + ids for ids in encoded]
        for ids in rows:
            special = f"<{tokenizer.begin_id}>"
            text_of_it = "".join(text.pieces[number] for number in ids).replace(special, "")
            assert kind == "seq2seq" or text_of_it in TEXTS
    names = {"lm": ["decoder"], "classifier": ["encoder"], "seq2seq": ["encoder", "decoder"]}
    assert [path.split("/")[-1] for path in found] == [f"{x}_moe_1" for x in names[kind]]


@pytest.mark.parametrize("router", ["dropless", "by_row"])
def test_many_texts_are_routed_as_one_by_one(router, tokenizer):
    """Without capacity, or with one in each row, a text does not depend on those beside it."""
    layer = mixture()
    if router == "by_row":
        chosen = SwitchRouter(eval_capacity_factor=0.4, min_capacity=1, route_padding=False)
        layer = MoE(chosen, FeedForwardExperts(E, 16), group_by_row=True)
    parts = (2, Attention(2), FeedForward(16), layer)
    model = TransformerLanguageModel(tokenizer.vocabulary_size, D, *parts)
    texts = ["drei vier fünf acht"] * 70 + ["neun vier acht fünf"] * 7
    (many,) = route_texts(model, tokenizer, texts).values()
    length = many.ids.shape[1]
    assert len(many.routed.real) == 77 * length
    for place in (0, 69, 76):
        (alone,) = route_texts(model, tokenizer, texts[place : place + 1]).values()
        rows = slice(place * length, (place + 1) * length)
        for one, other in zip(alone.routed[:4], many.routed[:4], strict=True):
            np.testing.assert_allclose(other[rows], one, rtol=1e-5)
    assert np.all(many.routed.kept) == (router == "dropless")


def test_texts_without_a_token(tokenizer):
    with pytest.raises(ValueError, match="Received: 1 texts without tokens"):
        route_texts(make("classifier", tokenizer.vocabulary_size), tokenizer, [""])


@pytest.mark.parametrize("kind", ["lm", "classifier", "seq2seq"])
def test_examples_are_the_beginnings_of_texts(kind, tokenizer):
    """As training sees them; a decoder sees the translations that are given."""
    model = make(kind, tokenizer.vocabulary_size)
    translations = ["acht neun", "vier"] if kind == "seq2seq" else None
    examples = text_examples(model, tokenizer, TEXTS, translations, longest=6)
    begin, end = f"<{tokenizer.begin_id}>", f"<{tokenizer.end_id}>"

    def pieces(text, before=(), after=()):
        encoded = [tokenizer.decode([[i]]).numpy()[0].decode() for i in tokenizer.encode([text])[0]]
        row = [*before, *encoded, *after][:6]
        return row + [""] * (6 - len(row))

    if kind == "seq2seq":
        expected = {
            "": [pieces(text, after=[end]) for text in TEXTS],
            "decoder": [pieces(text, before=[begin]) for text in translations],
        }
        assert {name: ids.shape for name, ids in examples.inputs.items()} == {
            "source": examples.tokens[""].shape,
            "target": examples.tokens["decoder"].shape,
        }
    else:
        before = [begin] if kind == "lm" else []
        expected = {"": [pieces(text, before) for text in TEXTS]}
        assert examples.inputs.shape == examples.tokens[""].shape
    assert {path: tokens.tolist() for path, tokens in examples.tokens.items()} == {
        path: [row[: examples.tokens[path].shape[1]] for row in rows]
        for path, rows in expected.items()
    }


# === The terminal ===

PIECES = {0: "", 1: "ab", 2: " c\n", 3: "\x1b[31m"}
TEXT = RoutedText(
    np.array([[1, 2], [3, 0]]),
    PIECES,
    RoutedTokens(
        np.array([[0, 2], [1, 3], [2, 1], [0, 0]]),
        np.full((4, 2), 0.5, "float32"),
        np.array([[True, False], [True, False], [False, False], [False, False]]),
        np.array([True, True, True, False]),
        E,
    ),
)


def test_tokens_have_the_numbers_of_their_experts():
    assert colored(TEXT, 0, color=False) == "ab₀₊₂× c⏎₁"
    assert colored(TEXT, 1, color=False) == "\\x1b[31m₂×₊₁×"  # no escape reaches the terminal
    shown = colored(TEXT, 0, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "ab₀₊₂× c⏎₁"
    assert len(set(re.findall(r"48;5;(\d+)", shown))) == 2 and ";9m" not in shown
    assert ";9m" in colored(TEXT, 1, color=True)  # dropped by both


def test_a_table_counts_what_experts_compute():
    lines = table(TEXT, top=2).splitlines()
    assert lines[0].split() == ["expert", "tokens", "share", "mean", "gate", "most", "often"]
    assert lines[2].split() == ["0", "1", "50.0%", "0.5", "'ab'", "1"]
    assert lines[3].split() == ["1", "1", "50.0%", "0.5", "'", "c⏎'", "1"]
    assert lines[4].split() == ["2", "0", "0.0%", "-"]


def test_when_to_color(monkeypatch):
    assert wants_color("always") and not wants_color("never")
    master, terminal = pytest.importorskip("pty").openpty()
    with open(master, "rb"), open(terminal, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert wants_color("auto")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not wants_color("auto")
        monkeypatch.undo()


def test_the_command(folder, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("neun neun\n\nacht\n", encoding="utf-8")
    arguments = ["--text", "drei vier", "--data", str(tmp_path / "texts.txt"), "--shown", "2"]
    assert main(["routing", str(folder), *arguments, "--color", "always"]) == 0
    shown = capsys.readouterr().out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "decoder_moe_1: 3 experts," in plain and "×" in plain and shown != plain
    first, second = (line for line in plain.splitlines() if line.startswith("  <2>"))
    for line, text in ((first, "drei vier"), (second, "neun neun")):
        assert re.sub("[₀-₉₊×]", "", line.strip().removeprefix("<2>")) == text
    counts = [line.split() for line in plain.splitlines() if re.match(r" +\d+ ", line)]
    assert [row[0] for row in counts] == ["0", "1", "2"]
    tokens = int(re.search(r"(\d+) tokens", plain)[1])
    dropped = float(re.search(r"([\d.]+)% dropped", plain)[1])
    assert sum(int(row[1]) for row in counts) == round(2 * tokens * (1 - dropped / 100))


def test_the_command_says_no(folder, failure, tmp_path):
    assert "Received: no --text, and no line" in failure("routing", folder)
    said = failure("routing", folder, "--text", "drei", "--layer", "moe_7")
    assert "Expected one of decoder_moe_1. Received: layer='moe_7'" in said
    assert "Received: top=0" in failure("routing", folder, "--text", "drei", "--top", 0)
    assert "of a finished run" in failure("routing", tmp_path, "--text", "drei")
    for path in (tmp_path / "texts.txt", folder / "model.keras"):
        (tmp_path / "texts.txt").write_text("drei")
        before = path.read_bytes()
        said = failure("routing", folder, "--text", "drei", "--html", path)
        assert "or a page to replace" in said and "which is another file" in said
        assert path.read_bytes() == before


# === The page ===


class Page(HTMLParser):
    """Elements of a page with their attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append((tag, dict(attrs), []))
        self.found.append(self.open[-1])

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def all(self, tag):
        return [(attrs, "".join(texts)) for name, attrs, texts in self.found if name == tag]


def test_a_page_shows_text_as_text_and_needs_no_other_file(tmp_path):
    text = TEXT._replace(pieces={**PIECES, 1: "<script>alert(1)</script>"})
    write_routing_page(tmp_path / "page.html", "<b>run</b>", {"layer": text}, top=2)
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(written)
    assert [content for _, content in page.all("title")] == ["<b>run</b>"] and not page.all("b")
    assert len(page.all("script")) == 1  # the page's own
    assert not re.search(r"(src|href|url)\s*[=(]|https?:|@import", written)
    tokens = [(attrs, content) for attrs, content in page.all("span") if "title" in attrs]
    assert [content for _, content in tokens] == [
        "<script>alert(1)</script>0 2",
        " c⏎1",
        "\\x1b[31m2 1",
    ]
    assert [attrs["title"] for attrs, _ in tokens] == [
        "expert 0, gate 0.500; expert 2, gate 0.500, dropped",
        "expert 1, gate 0.500",
        "expert 2, gate 0.500, dropped; expert 1, gate 0.500, dropped",
    ]
    assert [attrs["class"] for attrs, _ in tokens] == ["token", "token", "token dropped"]
    buttons = page.all("button")
    assert [attrs["data-expert"] for attrs, _ in buttons] == ["0", "1", "2"]
    for attrs, _ in tokens:
        assert set(attrs["data-experts"].split()) <= {"0", "1", "2"}


def test_colors_of_a_page_are_legible():
    """Contrast of 4.5 at least, as WCAG 2 computes it."""
    for background, color in COLORS:
        light, dark = sorted((luminance(background), luminance(color)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, background


def luminance(color):
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_command_writes_a_page(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["routing", str(folder), "--text", "drei", "--html", str(page)]) == 0
    assert f"Wrote {page}." in capsys.readouterr().out
    found = Page(page.read_text(encoding="utf-8"))
    assert [content for _, content in found.all("h2")] == ["decoder_moe_1"]
    write_routing_page(page, "run", {"layer": TEXT})  # a page takes the place of a page
    assert "decoder_moe_1" not in page.read_text(encoding="utf-8")


# === Pictures ===


def test_a_picture_of_each_layer(folder, tmp_path, capsys):
    pictures = tmp_path / "new" / "pictures"
    main(["routing", str(folder), "--text", TEXTS[0], "--png", str(pictures)])
    names = sorted(path.name for path in pictures.iterdir())
    assert (
        names == ["decoder_moe_1.png"] and f"Wrote {pictures / names[0]}" in capsys.readouterr().out
    )
    colors = image.imread(pictures / names[0]).reshape(-1, 4)
    assert len(np.unique(colors, axis=0)) > 50  # not blank


def test_what_the_pictures_show():
    """Token 7 went to experts 0, 1 and 1, token 8 to 2, token 9 was dropped."""
    experts = np.array([[0], [1], [1], [2], [0], [1]])
    kept = np.array([[True], [True], [True], [True], [False], [True]])
    ids = np.array([[7, 7, 7], [8, 9, 0]])
    real = np.array([True] * 5 + [False])
    routed = RoutedTokens(experts, np.ones((6, 1)), kept, real, 3)
    text = RoutedText(ids, {7: " the", 8: "b", 9: "c", 0: "pad"}, routed)
    shares, names = most_frequent(text, top=5)
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 0], [0, 0, 1]])
    assert names == ["␣the", "b"]
    shares, places = by_position(text)
    np.testing.assert_allclose(shares, [[0.5, 0, 0.5], [0, 1, 0], [0, 1, 0]])
    assert places == ["0", "1", "2"]


def test_without_matplotlib_it_says_how_to_get_it(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code = main(["routing", str(folder), "--text", "acht", "--png", str(tmp_path / "pictures")])
    assert code != 0
    assert "pip install 'moe-zoo[pictures]'" in capsys.readouterr().err
    assert not (tmp_path / "pictures").exists()
