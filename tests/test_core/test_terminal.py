"""What others wrote, in a terminal: shown, and not obeyed."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from moe_zoo.analysis.expert_table import visible
from moe_zoo.terminal import format_table, printable, printable_warnings, show_text
from moe_zoo.training.cli import main, routing, served_text, text
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.recipes.recommender.sources import read_source
from moe_zoo.training.runs.run import Run

RED, SHOWN = "\x1b[31mred\x07", "\\x1b[31mred\\x07"


def test_control_characters_are_escaped_and_all_others_left():
    kept = "\n\t" + "".join(map(chr, range(32, 127))) + "é 猫\u00a0🦊\u200d\u200f"
    assert printable(kept) == kept
    obeyed = [*range(9), *range(11, 32), *range(127, 160), *range(0x2028, 0x202F), 0x2066, 0xD800]
    for number in obeyed:
        escaped = printable(f"a{chr(number)}b")
        assert escaped.isascii() and escaped.isprintable(), hex(number)
        assert escaped.encode().decode("unicode_escape") == f"a{chr(number)}b"


def test_text_and_warnings_are_shown_escaped(capsys):
    show_text(f"one\n{RED}")
    show_text(RED, error=True)
    assert capsys.readouterr() == (f"one\n{SHOWN}\n", f"{SHOWN}\n")
    program = (
        "import sys, warnings\nfrom moe_zoo.terminal import printable_warnings\n"
        "with printable_warnings():\n    warnings.warn(sys.argv[1])"
    )
    run = subprocess.run([sys.executable, "-c", program, RED], capture_output=True, text=True)
    assert SHOWN in run.stderr and "\x1b" not in run.stderr
    before = warnings.formatwarning
    with printable_warnings():
        pass
    assert warnings.formatwarning is before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error_and_no_traceback():
    program = (
        "from moe_zoo.terminal import whole_output\n"
        "try:\n    with whole_output():\n        print('text')\n"
        "except OSError as error:\n    raise SystemExit(str(error))"
    )
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 1 and run.stderr == b"[Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("command", "served"),
    [
        (["generate", "model", "--prompt", RED], [f"{RED}\nnext"]),
        (["translate", "model", "--text", RED], [f"{RED}\nnext"]),
        (["classify", "model", "--text", RED], {"label": [RED], "probabilities": [[1.0]]}),
    ],
)
def test_the_command_shows_what_a_model_gives_escaped(command, served, monkeypatch, capsys):
    """The model is left out here: what it gives is the case to be tested."""
    from moe_zoo.training.runs import serving

    monkeypatch.setattr(serving, "serve_in_fresh_process", lambda *_: served)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert SHOWN in said and "\x1b" not in said and "\x07" not in said
    assert isinstance(served, dict) or said == f"{SHOWN}\nnext\n"


def test_headers_of_tables_are_shown_escaped(tmp_path, capsys):
    (tmp_path / "t.csv").write_text(f"{RED},y\n1,0\n")
    read_source(RecommenderSettings(), str(tmp_path / "t.csv"), tasks=["y:binary"])
    assert f"by its first rows: {SHOWN}:number\n" in capsys.readouterr().out


def test_errors_show_names_escaped(capsys):
    assert main(["generate", f"no{RED}", "--prompt", "a"]) == 1
    said = capsys.readouterr().err
    assert SHOWN in said.replace("\\\\", "\\") and "\x1b" not in said


def test_pieces_of_a_text_stay_on_their_line():
    assert visible(f"a\n\t{RED}") == f"a⏎⇥{SHOWN}"


def test_runs_show_by_default_what_cannot_be_obeyed():
    assert Run.__init__.__defaults__[1] is show_text
    assert {x.show_text for x in (text, served_text, routing)} == {show_text}


def test_a_table_of_rows():
    rows = [{"name": "a", "n": 12345, "x": 0.123456}, {"name": "bbb", "x": 1234.5}]
    columns = {"name": "model", "n": "count", "x": "value", "none": "missing"}
    assert format_table(rows, columns).splitlines() == [
        "model   count   value  missing",
        "-----  ------  ------  -------",
        "a      12,345  0.1235        -",
        "bbb         -   1,234        -",  # 1234.5 to the even neighbour
    ]
