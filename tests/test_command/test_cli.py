"""The `moe-zoo` command: what it shows and what it makes."""

import contextlib
import json
import socket
import subprocess
import sys

import pytest

from cli_runs import TINY
from moe_zoo.training.cli import main
from moe_zoo.training.runs.finished_run import load_from_folder

# === What it does ===


def test_training_shows_a_table_and_generated_text(finished):
    folder, shown = finished
    lines = shown.splitlines()
    (head,) = [line for line in lines if line.startswith("model ")]
    columns = ("parameters", "test perplexity", "bits/char", "load CV", "dropped in training")
    for column in (*columns, "tokens/s"):
        assert column in head
    assert "The test ran without expert capacity, so it dropped no token." in shown
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
    assert (
        f"After 4 steps each, the mixture's test perplexity is {abs(change):.1f} % {word}" in shown
    )
    assert "\n    def f" in shown
    assert "Reloaded in a fresh process without moe_zoo" in shown
    assert f"tensorboard --logdir {folder}/logs" in shown
    assert "\x1b" not in shown  # --quiet: no progress bar


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
        *("mixture", "dense", "logs"),
    }
    kept = sorted(path.name for path in (folder / "mixture").iterdir())
    assert kept == ["result.json", "step-00000004"]
    events = list((folder / "logs").rglob("events.out.tfevents.*"))
    assert {path.parent.parent.name for path in events} == {"mixture", "dense"}


def test_evaluate_a_text_of_the_users(finished, text, capsys):
    arguments = ["evaluate", finished[0], "--data", text]
    assert main([*map(str, arguments), "--batch-size", "5", "--sequence-length", "11"]) == 0
    shown = capsys.readouterr().out
    assert "20,000 characters." in shown and "small_moe_32" in shown and "perplexity" in shown


@pytest.mark.slow
def test_export_and_generate(finished, tmp_path, capsys):
    folder, _ = finished
    assert main(["export", str(folder), "--output", str(tmp_path / "served")]) == 0
    assert "with the endpoints serve, score, generate." in capsys.readouterr().out
    arguments = ["generate", str(tmp_path / "served"), "--prompt", "def f(", "--prompt", "# Ünï"]
    assert main([*arguments, "--max-new-tokens", "5", "--temperature", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("def f(") and "\n\n# Ünï" in shown
    nucleus = [*arguments, "--max-new-tokens", "5", "--top-k", "0", "--top-p"]
    assert main([*nucleus, "0"]) == 0  # of the likeliest token alone
    assert capsys.readouterr().out == shown
    assert main([*nucleus, "1"]) == 0
    assert capsys.readouterr().out != shown
    beams = [*arguments, "--max-new-tokens", "5", "--num-beams", "4", "--length-penalty", "0"]
    assert main(beams) == 0
    assert capsys.readouterr().out.startswith("def f(")


def test_list_shows_presets_and_their_sizes(capsys):
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "37.782 M" in lines["moe_32"] and "4 of 32 experts" in lines["moe_32"]
    assert "272.892 M" in lines["moe_256"] and "8.389 M" in lines["4xlstm"]
    assert "1,571,194.223 M" in lines["switch_c"] and "8 experts" in lines["small_switch_8"]


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
                "{switch,gshard,noisy_top_k}",
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
                "resumes where",
            ],
        ),
        (["evaluate"], ["model", "--data PATH"]),
        (["generate"], ["--prompt PROMPT", "--temperature T", "--top-k K", "--max-new-tokens N"]),
        (["generate"], ["--top-p P", "--num-beams N", "--length-penalty A"]),
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
        "import sys; from moe_zoo.training.cli import main\n"
        "try: main(['train', 'lstm_lm', '--help'])\n"
        "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
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
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from moe_zoo.training.cli import main\n"
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


@pytest.mark.slow
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
