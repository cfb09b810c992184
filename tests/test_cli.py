"""The `moe-zoo` command: what it shows, what it makes, and how it says no."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys

import pytest

from moe_zoo.cli import main
from moe_zoo.training.language_model_run import load_from_folder, save_for_later
from moe_zoo.training.tokenizer import Tokenizer

TINY = [
    *("--num-experts", "5", "--top-k", "2", "--vocabulary-size", "300"),
    *("--batch-size", "3", "--sequence-length", "7"),
    *("--steps", "4", "--steps-per-epoch", "2", "--warmup-steps", "2", "--quiet"),
]


def train(text, output, *options):
    return main(["train", "lstm_lm", "--data", str(text), "--output", str(output), *TINY, *options])


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """The folder of a finished run, its twin included, and what the command showed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shown = folder.with_suffix(".txt")
    with open(shown, "w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        assert train(text, folder, "--compare", "--prompt", "def f", "--prompt", "") == 0
    return folder, shown.read_text(encoding="utf-8")


@pytest.fixture
def failure(capsys):
    """Runs a command that must fail politely, and returns what it says."""

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("moe-zoo: ") and error.count("\n") == 1, error
        assert "Traceback" not in error
        return error

    return run


# === What it does ===


def test_training_shows_a_table_and_generated_text(finished):
    folder, shown = finished
    lines = shown.splitlines()
    (head,) = [line for line in lines if line.startswith("model ")]
    for column in ("parameters", "test perplexity", "bits/char", "load CV", "dropped", "tokens/s"):
        assert column in head
    results = json.loads((folder / "results.json").read_text())
    mixture, dense = results["models"]
    table = {line.split()[0]: line.split() for line in lines[lines.index(head) + 2 :][:2]}
    for name, row in (("small_moe_32", mixture), ("dense_twin", dense)):
        assert table[name][1:4] == [
            f"{row['parameters']:,}",
            f"{row['perplexity']:.4g}",
            f"{row['bits_per_character']:.4g}",
        ]
        assert [len(row["history"]), row["model"]] == [2, name]
    change = 100 * (1 - mixture["perplexity"] / dense["perplexity"])
    word = "below" if change > 0 else "above"
    assert f"At 4 equal steps the mixture's test perplexity is {abs(change):.1f} % {word}" in shown
    assert "\n    def f" in shown
    assert "Reloaded without moe_zoo in a fresh process" in shown
    assert f"tensorboard --logdir {folder}/logs" in shown
    assert "\x1b" not in shown  # --quiet: no progress bar


def test_what_a_finished_run_holds(finished):
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("run.json", "results.json", "vocabulary.txt", "model.keras", "saved_model"),
        *("mixture", "dense", "logs"),
    }
    assert [path.name for path in (folder / "mixture").iterdir()] == ["step-00000004"]
    events = list((folder / "logs").rglob("events.out.tfevents.*"))
    assert {path.parent.parent.name for path in events} == {"mixture", "dense"}


def test_evaluate_a_text_of_the_users(finished, text, capsys):
    arguments = ["evaluate", finished[0], "--data", text]
    assert main([*map(str, arguments), "--batch-size", "5", "--sequence-length", "11"]) == 0
    shown = capsys.readouterr().out
    assert "20,000 characters." in shown and "small_moe_32" in shown and "perplexity" in shown


def test_export_and_generate(finished, tmp_path, capsys):
    folder, _ = finished
    assert main(["export", str(folder), "--output", str(tmp_path / "served")]) == 0
    assert "with the endpoints serve, serve_text, generate." in capsys.readouterr().out
    arguments = ["generate", str(tmp_path / "served"), "--prompt", "def f(", "--prompt", "# Ünï"]
    assert main([*arguments, "--max-new-tokens", "5", "--temperature", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("def f(") and "\n\n# Ünï" in shown


def test_list_shows_presets_and_their_sizes(capsys):
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "37.782 M" in lines["moe_32"] and "4 of 32 experts" in lines["moe_32"]
    assert "272.892 M" in lines["moe_256"] and "8.389 M" in lines["4xlstm"]


# === Help ===


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["list", "train", "evaluate", "generate", "export", "show recipes and presets"]),
        (["train"], ["lstm_lm", "LSTM language model with a mixture of experts"]),
        (
            ["train", "lstm_lm"],
            [
                "--preset STR",
                "{noisy_top_k,switch,gshard}",
                "--num-experts INT",
                "--top-k INT",
                "--steps INT",
                "--batch-size INT",
                "--seed INT",
                "{float32,mixed_bfloat16,mixed_float16}",
                "--logs DIR",
                "--output DIR",
                "--compare",
                "(default 64)",
                "goes on where",
            ],
        ),
        (["evaluate"], ["model", "--data PATH"]),
        (["generate"], ["--prompt PROMPT", "--temperature T", "--top-k K", "--max-new-tokens N"]),
        (["export"], ["--output DIR"]),
    ],
)
def test_help(arguments, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in expected:
        assert words in shown
    assert "None" not in shown


def test_help_needs_no_tensorflow():
    code = (
        "import sys; from moe_zoo.cli import main\n"
        "try: main(['train', 'lstm_lm', '--help'])\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_only_the_commands_own_words_reach_the_terminal(tmp_path):
    command = [sys.executable, "-m", "moe_zoo", "evaluate", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr.startswith("moe-zoo: Expected the folder of a finished run")
    assert result.stderr.count("\n") == 1, result.stderr
    listing = subprocess.run([*command[:3], "list"], capture_output=True, text=True)
    assert "moe_32" in listing.stdout and not listing.stderr


def test_a_tensorflow_that_cannot_be_imported_is_heard(tmp_path):
    broken = "import os\nos.write(2, b'wrong GLIBC\\n')\nraise ImportError('no tensorflow')\n"
    (tmp_path / "tensorflow.py").write_text(broken)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from moe_zoo.cli import main\n"
        "sys.exit(main(['evaluate', 'folder']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "wrong GLIBC\nmoe-zoo: no tensorflow\n"


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "bert"], ["generate", "folder"]])
def test_a_wrong_command_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: moe-zoo" in capsys.readouterr().err


def train_on_mesh(text, folder, *options, launcher=()):
    """A run with the experts on two devices, in a process of its own, and what it shows."""
    command = [*launcher, "train", "lstm_lm", "--data", str(text), "--output", str(folder), *TINY]
    command += ["--num-experts", "4", "--batch-size", "4", "--mesh", "expert=2", *options]
    result = subprocess.run(
        [sys.executable, "-m", "moe_zoo", *command, "--prompt", "def f"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_training_on_a_mesh(text, tmp_path):
    """What comes out serves on one device; two processes do what one does with two devices."""
    folder = tmp_path / "run"
    shown = train_on_mesh(text, folder, "--virtual-devices", "2", "--compare")
    table = [line.split() for line in shown.splitlines()]
    (kernel,) = [row for row in table if row and row[0].endswith("experts/kernel_in")]
    assert kernel[-5] == "expert," and 2 * int(kernel[-2].replace(",", "")) == int(
        kernel[-1].replace(",", "")
    )
    assert "    def f" in shown
    model, _ = load_from_folder(folder)
    assert model.sequence_length is None
    assert main(["evaluate", str(folder), "--data", str(text)]) == 0

    with contextlib.ExitStack() as sockets:
        ports = [sockets.enter_context(socket.create_server(("localhost", 0))) for _ in range(2)]
        workers = ",".join(f"localhost:{port.getsockname()[1]}" for port in ports)
    launcher = ["launch", "--workers", workers, "--"]
    assert "    def f" in train_on_mesh(text, tmp_path / "two", launcher=launcher)
    losses = [
        json.loads((path / "results.json").read_text())["models"][0]["history"]
        for path in (folder, tmp_path / "two")
    ]
    for epoch, other in zip(*losses, strict=True):
        assert other["loss"] == pytest.approx(epoch["loss"], abs=1e-5)
        assert other["val_loss"] == pytest.approx(epoch["val_loss"], abs=1e-5)


# === Bad input ===


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


def test_the_folder_of_another_run(failure, finished, text):
    folder, _ = finished
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    said = failure("train", "lstm_lm", "--data", text, "--output", folder, *TINY, "--seed", 3)
    assert "folder of another run (seed: 0 there, 3 now). Choose another folder" in said
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", "6"], "Expected top_k <= num_experts. Received: top_k=6, num_experts=5."),
        (["--top-k", "0"], "Received: top_k=0."),
        (["--batch-size", "0"], "Received: batch_size=0."),
        (["--sequence-length", "-7"], "Received: sequence_length=-7."),
        (["--num-experts", "-1"], "Received: num_experts=-1."),
        (["--preset", "small_moe"], "Did you mean small_moe_32"),
        (["--steps", "3"], "Expected a multiple of steps_per_epoch=2. Received: steps=3."),
        (["--batch-size", "5000"], "one batch of 5000 windows of 7"),
        (["--mesh", "expert=1", "--collective-timeout", "0"], "collective_timeout=0.0. Give it"),
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
    assert "Received: preset='small_moe_1_wide', a dense baseline itself" in said
    assert not (tmp_path / "run").exists()


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
    assert "without model.keras and vocabulary.txt. Train one with: moe-zoo train" in said
    said = failure("export", tmp_path / "none", "--output", tmp_path / "served")
    assert "Expected the folder of a finished run" in said
    said = failure("generate", tmp_path, "--prompt", "x")
    assert "which has no saved_model.pb. Write one with moe-zoo export." in said


@pytest.mark.parametrize(
    "option",
    [("--max-new-tokens", "-1"), ("--temperature", "-0.5"), ("--top-k", "-2")],
)
def test_generating_with_numbers_below_zero(failure, finished, option):
    said = failure("generate", finished[0], "--prompt", "x", *option)
    name = option[0].strip("-").replace("-", "_")
    assert f"Received: {name}={option[1]}" in said


def copy_of(finished, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("model.keras", "vocabulary.txt"):
        shutil.copy(finished[0] / name, folder)
    return folder


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


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_a_damaged_model(failure, finished, tmp_path, content):
    folder = copy_of(finished, tmp_path)
    (folder / "model.keras").write_bytes(content)
    said = failure("export", folder, "--output", tmp_path / "served")
    assert "Expected a whole model. Received: " in said and "model.keras', which cannot be" in said


def test_a_damaged_saved_model(failure, finished, tmp_path):
    shutil.copytree(finished[0] / "saved_model", tmp_path / "saved_model")
    shutil.rmtree(tmp_path / "saved_model" / "variables")
    said = failure("generate", tmp_path, "--prompt", "x")
    assert "saved_model' could not be served: " in said and "variables" in said


def test_a_model_that_cannot_be_written_leaves_nothing_half(finished, tmp_path):
    model, tokenizer = load_from_folder(finished[0])
    (tmp_path / "model.keras" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"model could not be written to .*Make room"):
        save_for_later(model, tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_an_export_into_other_files(failure, finished, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    said = failure("export", finished[0], "--output", tmp_path)
    assert "Expected a new folder or an earlier SavedModel." in said and "other files" in said


def test_errors_of_our_own_are_not_hidden(monkeypatch):
    monkeypatch.setattr("moe_zoo.cli.run_list", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_stopping_by_hand(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("moe_zoo.cli.run_list", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "\nmoe-zoo: stopped.\n"
