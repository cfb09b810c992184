"""How the `moe-zoo` command says no."""

import os
import shutil

import pytest

from cli_runs import TINY
from moe_zoo.models.tokenizers.tokenizer import Tokenizer
from moe_zoo.training.cli import main
from moe_zoo.training.runs.finished_run import load_from_folder, save_for_later


def test_texts_that_are_none(failure, tmp_path):
    contents = {"empty.txt": b"", "short.txt": b"Too short.", "binary.txt": b"\x00\xff" * 5000}
    messages = {
        "empty.txt": "Expected at least 2,000 characters of text.",
        "short.txt": "with 10 characters",
        "binary.txt": "which is binary (it holds NUL bytes). Give plain text",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        said = failure("train", "lstm_lm", "--data", tmp_path / name, "--output", tmp_path / "run")
        assert messages[name] in said and name in said
        assert not (tmp_path / "run").exists()
    said = failure("train", "lstm_lm", "--data", tmp_path / "none.txt")
    assert "none.txt', which does not exist. Check the path" in said


@pytest.mark.parametrize(
    "words",
    [
        ("routing", "no-run", "--text", "a", "--html"),
        ("routing", "no-run", "--text", "a", "--png"),
        ("export", "no-run", "--output"),
    ],
)
def test_a_pipe_in_the_place_of_an_output_is_told_before_any_work(failure, tmp_path, words):
    os.mkfifo(tmp_path / "pipe")
    assert "pipe', which is a named pipe. Choose another path." in failure(
        *words, tmp_path / "pipe"
    )
    assert (tmp_path / "pipe").is_fifo()


def test_outputs_that_cannot_be(failure, text, tmp_path):
    arguments = ("train", "lstm_lm", *TINY, "--data", text, "--output")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    assert "holds other files, such as 'thesis.txt'" in failure(*arguments, tmp_path / "thesis")
    path = tmp_path / "thesis" / "thesis.txt"
    assert "thesis.txt', which is a file. Choose another path." in failure(*arguments, path)
    said = failure(*arguments, path / "run")
    assert "Expected a folder that can be written to." in said and "Not a directory" in said
    assert path.read_text() == "years of work"


@pytest.mark.slow
def test_the_folder_of_another_kind_of_model(failure, finished):
    folder, _ = finished
    said = failure("classify", folder, "--text", "A text.")
    assert "Expected an endpoint 'classify' that takes texts." in said
    said = failure("translate", folder, "--text", "A text.")
    assert "endpoint 'translate' that takes texts. Received: generate, score, serve." in said


@pytest.mark.slow
def test_the_folder_of_another_run(failure, finished, text):
    folder, _ = finished
    before = times(folder)
    said = failure("train", "lstm_lm", "--data", text, "--output", folder, *TINY, "--seed", 3)
    assert "folder of another run (seed: 0 there, 3 now). Choose another folder" in said
    assert times(folder) == before


def times(folder):
    """When each file of a run was written; the lock tells of its last writer."""
    files = (path for path in folder.rglob("*") if path.name != ".moe-zoo.lock")
    return sorted((path, path.stat().st_mtime_ns) for path in files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", "6"], "Expected top_k <= num_experts. Received: top_k=6, num_experts=5."),
        (["--top-k", "0"], "Received: top_k=0."),
        (["--batch-size", "0"], "Received: batch_size=0."),
        (["--sequence-length", "-7"], "Received: sequence_length=-7."),
        (["--num-experts", "-1"], "Received: num_experts=-1."),
        (["--preset", "small_moe"], "Did you mean 'small_moe_32'"),
        (["--seed", "4294967296"], "Expected a seed from 0 to 4294967295. Received: seed=42949"),
        (["--seed", "-1"], "Received: seed=-1."),
        (["--steps", "3"], "Expected a multiple of steps_per_epoch=2. Received: steps=3."),
        (["--batch-size", "5000"], "one batch of 5000 windows of 7"),
        (["--batch-size", "2147483647"], "at most 268,435,456 tokens. Received: batch_size=2147"),
        (
            ["--mesh", "expert=1", "--collective-timeout", "0"],
            "collective_timeout=0.0. Give the seconds",
        ),
        (["--mesh", "expert"], "such as 'expert=4' or 'batch=2,expert=4'. Received: mesh='expert'"),
        (["--mesh", "expert=16"], "Expected 16 devices for the mesh expert=16. Received: 8 CPU."),
        (["--mesh", "expert=2"], "with num_experts=5. Change the one or the other."),
        (["--virtual-devices", "2"], "Expected to split the CPU before TensorFlow starts."),
    ],
)
def test_settings_that_cannot_be(failure, text, tmp_path, options, message):
    output = tmp_path / "run"
    said = failure("train", "lstm_lm", "--data", text, "--output", output, *TINY, *options)
    assert message in said


def test_a_comparison_with_itself_fails_before_any_training(failure, text, tmp_path):
    said = failure(
        *("train", "lstm_lm", "--data", text, "--output", tmp_path / "run"),
        *("--preset", "small_moe_1_wide", "--compare"),
    )
    assert "Received: preset='small_moe_1_wide', which is a dense baseline" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_numbers_that_are_no_numbers_any_more(failure, text, tmp_path):
    # At a rate of 1e30 the first update sends the weights beyond float32.
    said = failure(
        *("train", "lstm_lm", "--data", text, "--output", tmp_path / "run", *TINY),
        *("--learning-rate", "1e30", "--warmup-steps", "0", "--clip-norm", "0"),
    )
    assert "The router 'mixture/moe/noisy_top_k_router" in said and "not finite" in said
    assert "lower the learning rate" in said
    assert "{{node" not in said


def test_folders_without_a_model(failure, tmp_path):
    said = failure("evaluate", tmp_path, "--data", tmp_path)
    assert "without model.keras and vocabulary.txt. Train one by a recipe of moe-zoo" in said
    said = failure("export", tmp_path / "none", "--output", tmp_path / "served")
    assert "Expected the folder of a finished run" in said
    said = failure("generate", tmp_path, "--prompt", "x")
    assert "which has no saved_model.pb. Write one with model.export(path) or moe-zoo" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        ("--max-new-tokens", "-1"),
        ("--temperature", "-0.5"),
        ("--top-k", "-2"),
        ("--top-p", "-0.5"),
        ("--top-p", "1.5"),
        ("--num-beams", "0"),
        ("--length-penalty", "-1.0"),
    ],
)
def test_generating_with_numbers_out_of_range(failure, finished, option):
    said = failure("generate", finished[0], "--prompt", "x", *option)
    name = option[0].strip("-").replace("-", "_")
    assert f"Received: {name}={option[1]}" in said


def copy_of(finished, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("model.keras", "vocabulary.txt"):
        shutil.copy(finished[0] / name, folder)
    return folder


@pytest.mark.slow
def test_vocabularies_that_do_not_match(failure, finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    path = folder / "vocabulary.txt"
    pieces = Tokenizer.load(path).vocabulary
    Tokenizer(pieces[:-1]).save(path)
    said = failure("export", folder, "--output", tmp_path / "served")
    assert f"Expected a vocabulary of {len(pieces)} pieces, as the model has." in said
    assert f"vocabulary.txt' with {len(pieces) - 1}. Restore the file of the run." in said
    path.write_text(path.read_text()[:-9])
    said = failure("export", folder, "--output", tmp_path / "served")
    assert "vocabulary.txt'" in said and "damaged" in said
    assert not (tmp_path / "served").exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_a_damaged_model(failure, finished, tmp_path, content):
    folder = copy_of(finished, tmp_path)
    (folder / "model.keras").write_bytes(content)
    said = failure("export", folder, "--output", tmp_path / "served")
    assert "Expected a whole model. Received: " in said and "model.keras', which cannot be" in said


@pytest.mark.slow
def test_a_damaged_saved_model(failure, finished, tmp_path):
    shutil.copytree(finished[0] / "saved_model", tmp_path / "saved_model")
    shutil.rmtree(tmp_path / "saved_model" / "variables")
    said = failure("generate", tmp_path, "--prompt", "x")
    assert "Expected a whole SavedModel. Received: " in said and "variables" in said


@pytest.mark.slow
def test_a_vocabulary_or_model_of_another_run(failure, finished, tmp_path):
    folder = copy_of(finished, tmp_path)
    shutil.copy(finished[0] / "finished.json", folder)
    *pieces, last, second = Tokenizer.load(folder / "vocabulary.txt").vocabulary
    Tokenizer([*pieces, second, last]).save(folder / "vocabulary.txt")
    said = failure("export", folder, "--output", tmp_path / "served")
    assert "vocabulary.txt', which is another file or damaged" in said
    assert "delete finished.json if you replaced both" in said


@pytest.mark.slow
def test_a_model_that_cannot_be_written_leaves_nothing_half(finished, tmp_path):
    model, tokenizer = load_from_folder(finished[0])
    (tmp_path / "model.keras" / "in the way").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"model\.keras', which is a folder\. Choose another"):
        save_for_later(model, tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.slow
def test_an_export_into_other_files(failure, finished, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    said = failure("export", finished[0], "--output", tmp_path)
    assert "Expected a new folder or an earlier SavedModel." in said and "other files" in said


def test_errors_of_our_own_are_not_hidden(monkeypatch):
    monkeypatch.setattr("moe_zoo.training.cli.run_list", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["list"])
