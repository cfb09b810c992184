"""Command lines of `moe-zoo` with hostile values.

A case is a command and some of its options with values that a person, a script or an attacker might
give. Of `train` only the settings are made; the other commands look for a run that is not there. It
is right if the settings are made and can be written as JSON, and refused if the parser or an error
says so in a line that names an option.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import math
from importlib import import_module

from fuzz.verdict import LONGEST, REFUSED, RIGHT, UNCLEAR, Verdict, of_error
from moe_zoo.training.cli import main, make_parser
from moe_zoo.training.cli.options import read_settings
from moe_zoo.training.recipes.classifier.settings import ClassifierSettings
from moe_zoo.training.recipes.lstm_lm.settings import LSTMSettings
from moe_zoo.training.recipes.recommender.settings import RecommenderSettings
from moe_zoo.training.recipes.transformer_lm.settings import TransformerLMSettings
from moe_zoo.training.recipes.translation.settings import TranslationSettings

# Commands import it when they run: in the first case, for as long as hundreds of cases take.
import_module("moe_zoo.training.runs.run")

SETTINGS = {
    "lstm_lm": LSTMSettings,
    "transformer_lm": TransformerLMSettings,
    "classifier": ClassifierSettings,
    "translation": TranslationSettings,
    "recommender": RecommenderSettings,
}
MISSING_RUN = ("generate", "translate", "classify", "routing", "evaluate", "export")
VALUES = (
    "0",
    "1",
    "2",
    "7",
    "-1",
    "0.5",
    "1e-3",
    "1.25",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 20,
    "9" * 400,
    "",
    " ",
    "true",
    "None",
    "x" * 5_000,
    "\x1b[31m",
    "\x11",
    "ü",
    "a=b",
    "expert=0",
    "../..",
)


def draw(rng) -> dict:
    """A case: the command and its options, each with its value."""
    command = str(rng.choice([*SETTINGS, *MISSING_RUN]))
    options = _options(command)
    chosen = rng.choice(len(options), min(len(options), int(rng.integers(1, 4))), replace=False)
    arguments = []
    for option in (options[number] for number in chosen):
        arguments.append(option.option_strings[-1])
        if option.nargs != 0:
            likely = [str(option.default), *(option.choices or ())]
            values = [*VALUES, *likely]
            arguments.append(str(values[rng.integers(len(values))]))
    return {"command": command, "arguments": arguments}


def _options(command):
    """The options of a command that take part: all but `--help`."""
    parser = make_parser()
    for name in ["train", command] if command in SETTINGS else [command]:
        group = next(x for x in parser._actions if isinstance(x, argparse._SubParsersAction))
        parser = group.choices[name]
    return [x for x in parser._actions if x.option_strings and "--help" not in x.option_strings]


def check(case) -> Verdict:
    """Parse the command line, and make the settings or look for the run."""
    command, arguments = case["command"], case["arguments"]
    train = command in SETTINGS
    line = ["train", command] if train else [command, "no/such/run"]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            if not train:
                return _refused(main([*line, *arguments]), said.getvalue())
            options = make_parser().parse_args([*line, *arguments])
            settings = read_settings(options, SETTINGS[command])
        except SystemExit as error:
            return _refused(error.code, said.getvalue())
        except Exception as error:
            return of_error(error)
    values = dataclasses.asdict(settings)
    json.dumps(values)
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            return Verdict(UNCLEAR, f"accepted {name}={value}")
    return Verdict(RIGHT)


def _refused(code, said):
    """The parser shows the usage and a line, an error of ours is one line."""
    lines = said.strip().splitlines()
    if code in (1, 2) and lines and "Traceback" not in said and len(lines[-1]) <= LONGEST:
        if lines[-1].startswith("moe-zoo") and not any(x < " " for x in lines[-1]):
            return Verdict(REFUSED, lines[-1])
    return Verdict(UNCLEAR, f"exit code {code}: {said[-LONGEST:]!r}")
