"""The translation recipe: what the command shows, keeps and makes."""

import json
import sys

import pytest

from moe_zoo.training.cli import main
from moe_zoo.training.optim.losses import SmoothedCrossEntropy
from moe_zoo.training.runs.finished_run import load_from_folder
from moe_zoo.training.runs.translate import translate_texts
from tiny_texts import TINY_TRANSLATION, number_pairs, write_parallel

pytest.importorskip("sacrebleu")


def command(data, output, *options):
    arguments = ["train", "translation", "--data", data, "--output", output, *TINY_TRANSLATION]
    return [str(argument) for argument in (*arguments, *options)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_parallel(tmp_path_factory.mktemp("data") / "numbers")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a finished run with its dense baseline, and what the command showed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shown = folder.with_suffix(".txt")
    with open(shown, "w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert main(command(data, folder, "--compare", "dense")) == 0
    return folder, shown.read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_shows_a_table_and_translations(finished):
    folder, shown = finished
    assert "de to en, train: 90 pairs" in shown and "batches an epoch in 2 shapes" in shown
    rows = json.loads((folder / "results.json").read_text())["models"]
    assert [row["model"] for row in rows] == ["switch", "dense"]
    lines = shown.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("model ")]
    assert "test BLEU" in lines[head] and "test perplexity" in lines[head]
    for row, line in zip(rows, lines[head + 2 :], strict=False):
        cells = line.split()
        assert cells[:2] == [row["model"], f"{row['parameters']:,}"]
        assert float(cells[2]) == pytest.approx(row["bleu"], rel=1e-3, abs=1e-9)
        assert len(row["history"]) == 2 and len(row["translations"]) == 11
        assert row["tokens_per_second"] > 0 and 0 <= row["bleu"] <= 100
        assert 20 < row["perplexity"] < 2000  # of 300 pieces, hardly trained
    assert rows[0]["dropped_fraction"] == 0 and "load_cv" not in rows[1]
    last = rows[0]["history"][-1]
    dropped = [last[f"{stack}_moe_0_dropped_fraction"] for stack in ("encoder", "decoder")]
    assert rows[0]["training_dropped_fraction"] == pytest.approx(sum(dropped) / 2)
    assert "|tok:13a|" in shown and "reference" in shown and "\x1b" not in shown
    # In 2 blocks 3 more layers of the dense one's size, a router, and some seeds.
    more = 2 * (3 * 2 * 8 * 32 + 8 * 4)
    assert 0 < rows[0]["parameters"] - rows[1]["parameters"] - more < 20


@pytest.mark.slow
def test_what_a_finished_run_holds(finished):
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *(
            ".moe-zoo.lock",
            "run.json",
            "results.json",
            "vocabulary.txt",
            "model.keras",
            "saved_model",
        ),
        "finished.json",
        *("switch", "dense", "logs"),
    }
    events = list((folder / "logs").rglob("events.out.tfevents.*"))
    assert {path.parent.parent.name for path in events} == {"switch", "dense"}
    model, tokenizer = load_from_folder(folder)
    assert isinstance(model.loss, SmoothedCrossEntropy) and model.loss.smoothing == 0.1
    assert tokenizer.vocabulary_size == model.vocabulary_size


@pytest.mark.slow
def test_what_is_served_translates_as_the_model_does(finished, tmp_path, capsys):
    folder, _ = finished
    assert main(["export", str(folder), "--output", str(tmp_path / "served")]) == 0
    assert "the endpoints serve, translate, translate_ids." in capsys.readouterr().out
    texts = [words for words, _ in number_pairs(5, seed=9)]
    model, tokenizer = load_from_folder(folder)
    expected = translate_texts(model, tokenizer, texts, num_beams=2, length_penalty=0.6)
    arguments = [part for text in texts for part in ("--text", text)]
    longest = max(len(ids) for ids in tokenizer.encode(texts).to_list())
    options = ["--num-beams", "2", "--max-new-tokens", str(2 * longest + 10)]
    assert main(["translate", str(tmp_path / "served"), *arguments, *options]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == expected


@pytest.mark.slow
def test_it_is_not_trained_again_and_another_router_may_join(finished, data, capsys):
    folder, _ = finished
    newest = folder / "switch" / "step-00000004" / "model.keras"
    before = newest.stat().st_mtime_ns
    rows = json.loads((folder / "results.json").read_text())["models"]
    assert main(command(data, folder, "--compare", "gshard,dense")) == 0
    shown = capsys.readouterr().out
    assert shown.index("switch") < shown.index("gshard") < shown.index("dense")
    assert newest.stat().st_mtime_ns == before
    again = json.loads((folder / "results.json").read_text())["models"]
    assert [row["model"] for row in again] == ["switch", "gshard", "dense"]
    assert [again[0], again[2]] == rows
    products = [row["parameters"] for row in again]
    assert products[1] < products[0]  # two experts of half the size


@pytest.mark.slow
def test_the_command_says_no(failure, finished, data, tmp_path, monkeypatch):
    folder, _ = finished
    arguments = ("train", "translation", *TINY_TRANSLATION, "--output")
    said = failure(*arguments, folder, "--data", data, "--seed", 3)
    assert "folder of another run (seed: 0 there, 3 now)" in said
    assert "Received: no --data. Give a folder" in failure(*arguments, tmp_path / "run")
    said = failure(*arguments, tmp_path / "run", "--data", data, "--compare", "best")
    assert "routers to compare, separated by commas, out of switch, gshard, noisy_top_k" in said
    assert "Received: 'best'. Choose one of them" in said
    said = failure(*arguments, tmp_path / "run", "--data", data, "--top-k", 5)
    assert "Expected top_k <= num_experts. Received: top_k=5, num_experts=4." in said
    said = failure(*arguments, tmp_path / "run", "--data", data, "--width", 10)
    assert "twice num_heads=2 divides. Received: width=10. Take 8" in said
    assert "holds TransformerSeq2Seq" in failure("evaluate", folder)
    said = failure("generate", folder, "--prompt", "drei")
    assert "Expected an endpoint 'generate' that takes texts. Received: serve, translate" in said
    said = failure("classify", folder, "--text", "drei")
    assert "Expected an endpoint 'classify' that takes texts." in said and "by translate" in said
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    said = failure(*arguments, tmp_path / "run", "--data", data)
    assert "pip install 'moe-zoo[bleu]'" in said
    assert not (tmp_path / "run").exists()
