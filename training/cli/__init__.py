"""The `moe-zoo` command."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from moe_zoo.terminal import printable_warnings, show_text, whole_output
from moe_zoo.training.recipes.recommender.settings import MIXINGS, SOURCES
from moe_zoo.training.recipes.routers import ROUTERS_OR_DENSE
from moe_zoo.validation import one_line

from .launch import add_launch
from .parser import Parser
from .routing import add_routing
from .served_text import add_served_text
from .text import add_text_commands
from .train import COMMANDS, add_train

DESCRIPTION = "Mixture-of-experts models for Keras: train, inspect the routing, serve."

# TensorFlow takes seconds to import: only the commands that need it do so.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments of the command; `None` for those of the process.

    Returns:
        The exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    options = make_parser().parse_args(arguments)
    try:
        if getattr(options, "needs_tensorflow", True):
            import_tensorflow()
        with whole_output(), printable_warnings():
            return options.run(options) or 0
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        show_text(f"moe-zoo: {one_line(error)}", error=True)
        return 1
    except MemoryError as error:
        show_text(f"moe-zoo: Out of memory. {one_line(error)} Ask for smaller sizes.", error=True)
        return 1
    except KeyboardInterrupt:
        resumes = getattr(options, "resumes", False)
        advice = " The same command resumes where this one stopped." if resumes else ""
        show_text(f"\nmoe-zoo: stopped.{advice}", error=True)
        return 130
    except Exception as error:
        message = tensorflow_message(error)
        if message is None:
            raise
        show_text(f"moe-zoo: {one_line(message)}", error=True)
        return 1


def import_tensorflow() -> None:
    """Import TensorFlow without its first lines on stderr, which no log level silences.

    They are shown after all if the import fails.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for drivers, and says so
        except BaseException:
            lines.seek(0)
            os.write(terminal, lines.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def tensorflow_message(error: Exception) -> str | None:
    """Return what went wrong if the error comes from a graph of TensorFlow's, else `None`."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    text = re.sub(r"\{\{.*?\}\} ?", "", error.message)  # names of nodes
    frame = ("Graph execution error", "Detected at node", "  File ")
    parts = [part for part in text.split("\n\n") if part and not part.startswith(frame)]
    return parts[0].splitlines()[0] if parts else text


def make_parser() -> Parser:
    """Make the parser of all commands."""
    parser = Parser("moe-zoo", description=DESCRIPTION)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show recipes and presets")
    listing.set_defaults(run=run_list)

    add_train(commands)
    add_text_commands(commands)
    add_served_text(commands)
    add_routing(commands)
    add_launch(commands)
    return parser


def run_list(options: argparse.Namespace) -> None:
    """Print recipes and presets."""
    from moe_zoo.models import (
        LSTM_LANGUAGE_MODELS,
        TRANSFORMER_LANGUAGE_MODELS,
        TRANSFORMER_SEQ2SEQS,
    )

    print("recipes of moe-zoo train")
    for name, command in COMMANDS.items():
        print(f"  {name:16} {command.settings.title}")
    print("\nlstm_lm --preset    parameters without embedding and softmax")
    print_presets(LSTM_LANGUAGE_MODELS)
    print("\ntransformer_lm, translation, classifier")
    print(f"  --router    {', '.join(ROUTERS_OR_DENSE)}")
    print("\nrecommender")
    print(f"  --mixing    {', '.join(MIXINGS)}")
    print(f"  --data      {', '.join(SOURCES)}, or a table")
    print("\nTransformerSeq2Seq.from_sizes in Python")
    print_presets(TRANSFORMER_SEQ2SEQS)
    print("\nTransformerLanguageModel.from_sizes and TransformerClassifier.from_sizes")
    print_presets(TRANSFORMER_LANGUAGE_MODELS)


def print_presets(presets: dict[str, dict[str, Any]]) -> None:
    """Print a line for each preset: name, parameters without embedding and head, description."""
    for name, preset in presets.items():
        size = f"{preset['core_parameters'] / 1e6:,.3f} M"
        print(f"    {name:16} {size:>15}  {preset['description']}")
