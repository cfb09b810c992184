"""The `moe-zoo` command."""

import os
import re
import sys
import tempfile

from moe_zoo.terminal import printable_warnings, show_text, whole_output
from moe_zoo.training.recipes.recommender.settings import MIXINGS, SOURCES
from moe_zoo.training.recipes.transformer_settings import MIXTURES
from moe_zoo.validation import one_line

from .classifier import add_classifier
from .language_models import add_language_models
from .launch import add_launch
from .parser import Parser
from .recommender import add_recommender
from .routing import add_routing
from .served_text import add_served_text
from .text import add_text_commands
from .translation import add_translation

DESCRIPTION = "Mixture-of-experts models for Keras: train, look at the routing, serve."

# TensorFlow takes seconds to import: only the commands that need it do so.


def main(arguments=None):
    """Run the command line. Returns the exit code."""
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
        goes_on = getattr(options, "goes_on", False)
        advice = " The same command goes on where this one stopped." if goes_on else ""
        show_text(f"\nmoe-zoo: stopped.{advice}", error=True)
        return 130
    except Exception as error:
        message = tensorflow_message(error)
        if message is None:
            raise
        show_text(f"moe-zoo: {one_line(message)}", error=True)
        return 1


def import_tensorflow():
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


def tensorflow_message(error):
    """What went wrong, in words, if TensorFlow met the error while it ran a graph; else `None`."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    text = re.sub(r"\{\{.*?\}\} ?", "", error.message)  # names of nodes
    frame = ("Graph execution error", "Detected at node", "  File ")
    parts = [part for part in text.split("\n\n") if part and not part.startswith(frame)]
    return parts[0].splitlines()[0] if parts else text


def make_parser():
    """The parser of all commands."""
    parser = Parser("moe-zoo", description=DESCRIPTION)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show recipes and presets")
    listing.set_defaults(run=run_list)

    train = commands.add_parser("train", help="train a model by its recipe")
    recipes = train.add_subparsers(title="recipes", required=True, metavar="RECIPE")
    add_language_models(recipes)
    add_translation(recipes)
    add_classifier(recipes)
    add_recommender(recipes)

    add_text_commands(commands)
    add_served_text(commands)
    add_routing(commands)
    add_launch(commands)
    return parser


def run_list(options):
    """Print recipes and presets."""
    from moe_zoo.models import (
        LSTM_LANGUAGE_MODELS,
        TRANSFORMER_LANGUAGE_MODELS,
        TRANSFORMER_SEQ2SEQS,
    )

    print("moe-zoo train lstm_lm    LSTM language model with a mixture of experts\n")
    print("  --preset           parameters besides embedding and softmax")
    print_presets(LSTM_LANGUAGE_MODELS)
    print("\nmoe-zoo train transformer_lm    Transformer language model with mixtures of experts")
    print("moe-zoo train translation       encoder-decoder Transformer of parallel text")
    print("moe-zoo train classifier        Transformer encoder that labels texts\n")
    print(f"  --router    {', '.join(MIXTURES)}")
    print("\n  TransformerSeq2Seq.from_sizes in Python, likewise")
    print_presets(TRANSFORMER_SEQ2SEQS)
    print("  TransformerLanguageModel and TransformerClassifier")
    print_presets(TRANSFORMER_LANGUAGE_MODELS)
    print("\nmoe-zoo train recommender    multi-task model of a table\n")
    print(f"  --mixing    {', '.join(MIXINGS)}")
    print(f"  --data      {', '.join(SOURCES)}, or a table")


def print_presets(presets):
    """Print a line for each preset: name, parameters without embedding and head, description."""
    for name, preset in presets.items():
        size = f"{preset['core_parameters'] / 1e6:,.3f} M"
        print(f"    {name:16} {size:>15}  {preset['description']}")
