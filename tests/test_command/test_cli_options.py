"""Every option of the command with hostile values: one line that names option and value."""

import argparse
import dataclasses

import pytest

from moe_zoo.training.cli import main, make_parser
from moe_zoo.training.cli.options import read_settings
from moe_zoo.training.recipes.classifier.settings import ClassifierSettings
from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings
from moe_zoo.training.recipes.translation.settings import TranslationSettings

RECIPES = {
    "lstm_lm": LSTMSettings,
    "transformer_lm": TransformerLMSettings,
    "classifier": ClassifierSettings,
    "translation": TranslationSettings,
    "recommender": RecommenderSettings,
}
LONG = "x" * 100_000
NO_NUMBERS = ("", " ", "ten", "1e", "0x10", "\x1b[31m", "1" * 5000, LONG)
HOSTILE = {
    "whole": (*NO_NUMBERS, "-1", "99999999999999999999", "-99999999999999999999", "1.5", "nan"),
    "real": (*NO_NUMBERS[:-2], "nan", "inf", "-inf", "1e999", "-1"),
    "file_path": ("", " ", "a\0b", LONG),
    "text": ("", " ", "a\0b"),
    "choice": ("", "nothing", LONG, "\x1b[31m"),
}
SIGNED = {"--correlation", "--seed"}  # -1 is a correlation; a seed is refused elsewhere


def subparsers(parser):
    """The parsers below one, by name."""
    return {
        name: below
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, below in action.choices.items()
    }


def kind_of(action):
    """What kind of value an option takes; `None` for a switch."""
    if action.nargs == 0:
        return None
    if action.choices:
        return "choice"
    return getattr(action.type, "__name__", "text") if action.type is not str else "text"


PARSER = make_parser()
TRAIN = subparsers(subparsers(PARSER)["train"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_hostile_settings_are_refused_in_a_line(recipe, capsys):
    names = {f"--{x.name.replace('_', '-')}": x.name for x in dataclasses.fields(RECIPES[recipe])}
    unclear = []
    for action in TRAIN[recipe]._actions:
        option = action.option_strings[0]
        for value in HOSTILE.get(kind_of(action), ()):
            try:
                options = TRAIN[recipe].parse_args([f"{option}={value}"])
                if option not in names:
                    continue  # what runs reads it, see below
                read_settings(options, RECIPES[recipe])
                if option not in SIGNED:
                    unclear.append(f"{option}={value[:30]!r} was taken")
                continue
            except SystemExit:
                said = capsys.readouterr().err.splitlines()[-1]
            except ValueError as error:
                said = str(error)
            named = option in said or f"{names.get(option)}=" in said
            if not named or len(said) > 1200 or not said.isprintable():
                unclear.append(f"{option}={value[:30]!r}: {said[:200]}")
    assert not unclear, "\n".join(unclear)


MESH = ["train", "recommender", "--virtual-devices"]
LAUNCH = ["launch", "--workers", "localhost:1", "--grace"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*LAUNCH, "-1", "--", "true"], "finite number of at least 0.0. Received: grace=-1.0."),
        ([*LAUNCH, "nan", "--", "true"], "finite number of at least 0.0. Received: grace=nan."),
        ([*LAUNCH, "1e999", "--", "true"], "finite number of at least 0.0. Received: grace=inf."),
        (["launch", "--workers", "a:" + "9" * 5000, "--", "x"], "as host:port. Received: workers="),
        ([*MESH, "0"], "at least 1. Received: virtual_devices=0."),
        ([*MESH, "999999999"], "at most 1024. Received: virtual_devices=999999999."),
        (["train", "lstm_lm", "--collective-timeout", "nan"], "above 0. Received: collective_time"),
        (["train", "lstm_lm", "--mesh", "expert=" + "9" * 5000], "Received: mesh='expert=999"),
        (["train", "recommender", "--seeds", "0"], "at least 1. Received: seeds=0."),
        (["train", "recommender", "--compare", LONG], "Received: 'xxx"),
        (["routing", "m", "--top", "-1", "--text", "a"], "at least 1. Received: top=-1."),
        (["evaluate", "m", "--batch-size", "0"], "at least 1. Received: batch_size=0."),
        (["generate", "m", "--prompt", "a", "--temperature", "nan"], "Received: temperature=nan."),
        (["generate", "m", "--prompt", "a", "--num-beams", "0"], "Received: num_beams=0."),
        (["generate", "m", "--prompt", "a", "--seed", "9" * 20], "Received: seed=9999"),
        (["translate", "m", "--text", "a", "--length-penalty", "inf"], "length_penalty=inf."),
    ],
)
def test_hostile_options_of_what_runs_are_refused_in_a_line(arguments, words, capsys):
    assert main(arguments) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert words in said
    assert len(said) < 1200


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "m", "--prompt"],
        ["translate", "m", "--text"],
        ["routing", "m", "--text"],
        ["train", "lstm_lm", "--prompt"],
    ],
)
def test_bytes_that_are_no_text_are_refused(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, b"caf\xe9".decode("utf-8", "surrogateescape")])  # as Python gives them
    assert r"text in UTF-8. Received: 'caf\udce9'. Set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[LONG], ["train", LONG], ["generate", f"--{LONG}", "\x1b[31m"]]
)
def test_what_is_no_command_or_option_is_shown_in_short(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr().err.splitlines()[-1]
    assert len(said) < 1200
    assert said.isprintable()
