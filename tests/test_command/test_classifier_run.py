"""The classifier's recipe: what the command shows, keeps and makes."""

import json
import shutil
import sys

import numpy as np
import pytest

from moe_zoo.files.digests import write_json
from moe_zoo.models import TransformerClassifier
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.training.cli import main, make_parser
from moe_zoo.training.cli.options import read_settings
from moe_zoo.training.recipes.classifier.recipe import ClassifierRecipe
from moe_zoo.training.recipes.classifier.settings import ClassifierSettings
from moe_zoo.training.runs.finished_run import load_from_folder
from moe_zoo.training.runs.run import Run
from tiny_texts import TINY_CLASSIFIER, write_labelled


def command(data, output, *options):
    arguments = [
        "train",
        "classifier",
        "--data",
        data,
        "--output",
        output,
        *TINY_CLASSIFIER,
        *options,
    ]
    return [str(argument) for argument in arguments]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run with its dense baseline, its data, and its output."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    data = write_labelled(folder.with_suffix(".tsv"))
    shown = folder.with_suffix(".txt")
    with open(shown, "w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert main(command(data, folder, "--compare", "dense")) == 0
    return folder, data, shown.read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_shows_tables_and_learns(finished):
    folder, _, shown = finished
    rows = json.loads((folder / "results.json").read_text())["models"]
    assert [row["model"] for row in rows] == ["switch", "dense"]
    assert rows[0]["accuracy"] > 0.9  # words and digits differ in every byte
    for row in rows:
        texts = sum(label["texts"] for label in row["labels"])
        right = sum(label["recall"] * label["texts"] for label in row["labels"])
        assert row["accuracy"] == pytest.approx(right / texts)
        assert f"{row['parameters']:,}" in shown
        assert all("val_accuracy" in epoch for epoch in row["history"])
    assert "Each label, switch, test part" in shown and "of them cut" in shown
    assert "test accuracy" in shown and "macro F1" in shown and "load CV" in shown
    assert "Reloaded in a fresh process without moe_zoo, it says:" in shown
    assert "(correct: " in shown
    assert {path.name for path in (folder / "logs").iterdir()} == {"switch", "dense"}


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="for data='imdb' only. Received: path='x' for data='docs"):
        ClassifierSettings(path="x")
    with pytest.raises(ValueError, match="Expected routers out of switch.*Received: 'best'"):
        ClassifierRecipe(ClassifierSettings(), ["switch", "best"])


def test_a_run_of_0_1_0_has_its_labels_in_a_file(tmp_path):
    tokenizer = Tokenizer(train_vocabulary(["drei vier fünf\n" * 9], 262))
    model = TransformerClassifier(262, 2, 8, 1, Attention(2), FeedForward(16))
    model.save(tmp_path / "model.keras")
    tokenizer.save(tmp_path / "vocabulary.txt")
    write_json(tmp_path / "labels.json", {"labels": ["no", "yes"], "max_tokens": 5})
    model, _ = load_from_folder(tmp_path)
    assert (model.labels, model.max_tokens) == (["no", "yes"], 5)


@pytest.mark.slow
def test_what_is_served_labels_as_the_model_does(finished, tmp_path, capsys):
    folder, _, _ = finished
    assert main(["export", str(folder), "--output", str(tmp_path / "served")]) == 0
    assert "the endpoints serve, classify, classify_ids." in capsys.readouterr().out
    texts = ["drei vier acht", "5 0 2", " ".join(["neun"] * 30)]
    arguments = [part for text in texts for part in ("--text", text)]
    assert main(["classify", str(tmp_path / "served"), *arguments]) == 0
    shown = capsys.readouterr().out.splitlines()
    model, tokenizer = load_from_folder(folder)
    assert (model.labels, model.max_tokens) == (["digits", "words"], 8)
    for text, line in zip(texts, shown, strict=True):
        tokens = tokenizer.encode([text])[:, :8].to_tensor()
        logits = np.asarray(model(tokens), np.float64)[0]
        chances = np.exp(logits) / np.sum(np.exp(logits))
        label = ("digits", "words")[int(np.argmax(logits))]
        assert line == f"{label} ({chances.max():.1%}): {text}"


@pytest.mark.slow
def test_the_command_resumes_and_refuses(failure, finished, tmp_path, capsys):
    folder, data, _ = finished
    before = (folder / "results.json").read_text()
    assert main(command(data, folder)) == 0
    assert "resuming" not in capsys.readouterr().out
    after = json.loads((folder / "results.json").read_text())["models"]
    assert after == json.loads(before)["models"][:1]
    said = failure(*command(data, folder, "--seed", 3))
    assert "folder of another run (seed: 0 there, 3 now)" in said
    assert "holds TransformerClassifier" in failure("evaluate", folder)
    said = failure(*command(tmp_path / "none.tsv", tmp_path / "run"))
    assert "none.tsv', which does not exist. Check the path, or leave it out" in said
    said = failure(*command("imdb", tmp_path / "run", "--path", tmp_path))
    assert "without imdb.npz and imdb_word_index.json" in said


@pytest.mark.slow
def test_a_result_that_is_of_another_run_is_not_taken(tmp_path):
    """A checkpoint that is deleted, as the error for a damaged one advises, frees the folder."""
    data = write_labelled(tmp_path / "data.tsv")
    lengths = []
    for steps in ("4", "8"):
        arguments = command(data, tmp_path / "run", "--steps", steps, "--steps-per-epoch", "4")
        settings = read_settings(make_parser().parse_args(arguments), ClassifierSettings)
        recipe = ClassifierRecipe(settings, ["dense"])
        _, row = Run(recipe, tmp_path / "run", progress=False).train("dense")
        lengths.append(len(row["history"]))
        for checkpoint in (tmp_path / "run" / "dense").glob("step-*"):
            shutil.rmtree(checkpoint)
    assert lengths == [1, 2]
