"""The `moe-zoo` command."""

import argparse
import dataclasses
import os
import re
import sys
import tempfile

from moe_zoo.launch import DEFAULT_GRACE, launch
from moe_zoo.training.lstm_settings import LSTMSettings
from moe_zoo.validation import check_int

DESCRIPTION = "Mixture-of-experts models for Keras: train, look at the routing, serve."
DEFAULT_PROMPTS = ("def read(self", "class Test", "    Return the")

# TensorFlow takes seconds to import: only the commands that need it do so.


def main(arguments=None):
    """Run the command line. Returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    options = make_parser().parse_args(arguments)
    try:
        if options.run is not run_launch:
            import_tensorflow()
        return options.run(options) or 0
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"moe-zoo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        goes_on = options.run is run_train_lstm_lm
        advice = " The same command goes on from the last checkpoint." if goes_on else ""
        print(f"\nmoe-zoo: stopped.{advice}", file=sys.stderr)
        return 130
    except Exception as error:
        message = tensorflow_message(error)
        if message is None:
            raise
        print(f"moe-zoo: {message}", file=sys.stderr)
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
    parser = argparse.ArgumentParser("moe-zoo", description=DESCRIPTION)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show recipes and presets")
    listing.set_defaults(run=run_list)

    train = commands.add_parser("train", help="train a model by its recipe")
    recipes = train.add_subparsers(title="recipes", required=True, metavar="RECIPE")
    add_lstm_lm(recipes)

    evaluate = commands.add_parser("evaluate", help="perplexity and expert balance on a text")
    evaluate.add_argument("model", help="folder of a finished run")
    evaluate.add_argument(
        "--data", metavar="PATH", help="text file or folder (default: Python's own library)"
    )
    evaluate.add_argument("--batch-size", type=int, default=64)
    evaluate.add_argument("--sequence-length", type=int, default=32)
    evaluate.set_defaults(run=run_evaluate)

    generate = commands.add_parser("generate", help="continue a prompt")
    generate.add_argument("model", help="folder of a finished run, or a SavedModel")
    generate.add_argument(
        "--prompt", action="append", required=True, help="text to continue; may be repeated"
    )
    generate.add_argument("--max-new-tokens", type=int, default=60, metavar="N")
    generate.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="T",
        help="0 takes the likeliest token (default 0.7)",
    )
    generate.add_argument(
        "--top-k",
        type=int,
        default=20,
        metavar="K",
        help="draw among the K likeliest, 0 for all (default 20)",
    )
    generate.add_argument("--seed", type=int, default=0)
    generate.set_defaults(run=run_generate)

    export = commands.add_parser(
        "export", help="write a SavedModel with serve, serve_text and generate"
    )
    export.add_argument("model", help="folder of a finished run")
    export.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    export.set_defaults(run=run_export)
    add_launch(commands)
    return parser


def add_launch(commands):
    """The options of `moe-zoo launch`."""
    parser = commands.add_parser(
        "launch",
        help="run a command as several processes that share a mesh",
        usage="moe-zoo launch [options] --workers HOST:PORT,HOST:PORT -- COMMAND ...",
        description="Start the workers of this machine, those whose host is its name or one of its "
        "addresses, and end them together. Run the same command on every machine.",
    )
    parser.add_argument(
        "--workers",
        required=True,
        metavar="HOST:PORT,...",
        help="addresses of all workers, the same on every machine; the first one writes files",
    )
    parser.add_argument(
        "--index",
        type=int,
        metavar="N",
        help="start worker N alone, for schedulers that start each process (counted from 0)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=DEFAULT_GRACE,
        metavar="SECONDS",
        help="time that the others have to end by themselves when a worker has failed (default "
        f"{DEFAULT_GRACE:g})",
    )
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="what to run: a command of moe-zoo, such as train, or any program",
    )
    parser.set_defaults(run=run_launch, commands=commands.choices)


def add_lstm_lm(recipes):
    """The options of `moe-zoo train lstm_lm`: the settings of the recipe, and where things go."""
    parser = recipes.add_parser(
        "lstm_lm",
        help="LSTM language model with a mixture of experts (Shazeer et al. 2017)",
        description="Train an LSTM language model with a mixture of experts, evaluate it, export "
        "it as a SavedModel, and let a fresh process generate text. The same command goes on where "
        "an earlier one was stopped.",
    )
    settings = parser.add_argument_group("settings")
    for setting in dataclasses.fields(LSTMSettings):
        kind = next(x for x in (int, float, str) if x.__name__ in str(setting.type))
        text = setting.metadata["help"]
        settings.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=kind,
            default=setting.default,
            choices=setting.metadata["choices"],
            metavar=None if setting.metadata["choices"] else kind.__name__.upper(),
            help=text if setting.default is None else f"{text} (default {setting.default})",
        )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--compare",
        action="store_true",
        help="train the dense twin too: as many products per token",
    )
    run.add_argument(
        "--output",
        default="runs/lstm_lm",
        metavar="DIR",
        help="folder of the run (default runs/lstm_lm)",
    )
    run.add_argument(
        "--logs", metavar="DIR", help="TensorBoard logs (default: in the run's folder)"
    )
    run.add_argument(
        "--prompt", action="append", help="text to continue at the end; may be repeated"
    )
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    add_mesh(parser)
    parser.set_defaults(run=run_train_lstm_lm)


def add_mesh(parser):
    """The options of training on several devices."""
    group = parser.add_argument_group(
        "several devices",
        "Each device holds its part of the experts. Routing then has a capacity: 1.25 in training "
        "unless --capacity-factor says otherwise, 2.0 in evaluation.",
    )
    group.add_argument(
        "--mesh", metavar="AXES", help="axes of devices, as expert=4 or batch=2,expert=4"
    )
    group.add_argument(
        "--virtual-devices",
        type=int,
        metavar="N",
        help="split the CPU into so many devices, to try a mesh on one machine",
    )
    group.add_argument(
        "--collective-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="of several processes: the longest that a step may take before those that wait for a "
        "stuck one end (default 600)",
    )


def make_plan(options):
    """The `ExpertParallel` that the options ask for, or `None`."""
    from moe_zoo.distribution import ExpertParallel, virtual_devices

    if options.virtual_devices is not None:
        virtual_devices(check_int("virtual_devices", options.virtual_devices, least=1))
    if options.mesh is None:
        return None
    return ExpertParallel(options.mesh, collective_timeout=options.collective_timeout)


def run_launch(options):
    """Run a command as several processes."""
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ValueError(
            "Expected a command to launch. Received: nothing after the options. Write for example "
            "-- train lstm_lm, or -- python my_script.py."
        )
    if words[0] in options.commands:
        words = [sys.executable, "-m", "moe_zoo", *words]
    return launch(options.workers.split(","), words, options.index, options.grace)


def run_list(options):
    """Print recipes and presets."""
    from moe_zoo.models import LSTM_LANGUAGE_MODELS

    print("moe-zoo train lstm_lm    LSTM language model with a mixture of experts\n")
    print("  --preset           parameters besides embedding and softmax")
    for name, preset in LSTM_LANGUAGE_MODELS.items():
        size = f"{preset['core_parameters'] / 1e6:.3f} M"
        print(f"    {name:16} {size:>9}  {preset['description']}")


def run_train_lstm_lm(options):
    """Train, evaluate, export, generate."""
    from moe_zoo.training.language_model_run import LanguageModelRun
    from moe_zoo.training.lstm_lm import check_settings

    names = [setting.name for setting in dataclasses.fields(LSTMSettings)]
    settings = LSTMSettings(**{name: getattr(options, name) for name in names})
    plan = make_plan(options)  # first of all, since it may split the CPU
    check_settings(settings, compare=options.compare)
    run = LanguageModelRun(
        settings,
        options.output,
        logs=options.logs,
        progress=not options.quiet,
        plan=plan,
    )
    model, row = run.train()
    rows = [row]
    if options.compare:
        rows.append(run.train(dense=True)[1])
    run.finish(model, rows, options.prompt or DEFAULT_PROMPTS)


def run_evaluate(options):
    """Print perplexity and balance on a text."""
    from moe_zoo.table import format_table
    from moe_zoo.training.corpus import read_corpus
    from moe_zoo.training.evaluation import evaluate_tokens
    from moe_zoo.training.language_model_run import COLUMNS, load_from_folder
    from moe_zoo.training.text_dataset import encode_documents

    model, tokenizer = load_from_folder(options.model)
    corpus = read_corpus(options.data)
    # Of the default text only the part that no training has seen; of the user's own, all.
    documents = corpus.test
    if options.data is not None:
        documents = corpus.train + corpus.validation + corpus.test
    tokens = encode_documents(tokenizer, documents)
    characters = sum(len(document.text) for document in documents)
    row = evaluate_tokens(model, tokens, characters, options.batch_size, options.sequence_length)
    row = {"model": model.name, "parameters": model.count_params(), **row}
    print(f"{len(tokens):,} tokens, {characters:,} characters.\n")
    print(format_table([row], {key: name for key, name in COLUMNS.items() if key in row}))


def run_generate(options):
    """Print continuations."""
    from pathlib import Path

    from moe_zoo.training.language_model_run import SAVED_MODEL
    from moe_zoo.training.serving import generate_in_fresh_process

    folder = Path(options.model)
    if (folder / SAVED_MODEL).exists():
        folder = folder / SAVED_MODEL
    texts = generate_in_fresh_process(
        folder,
        options.prompt,
        options.max_new_tokens,
        options.temperature,
        options.top_k,
        options.seed,
    )
    print("\n\n".join(texts))


def run_export(options):
    """Write a SavedModel."""
    from moe_zoo.export import export_saved_model
    from moe_zoo.models import language_model_endpoints
    from moe_zoo.training.language_model_run import load_from_folder

    model, tokenizer = load_from_folder(options.model)
    endpoints = language_model_endpoints(model, tokenizer)
    export_saved_model(model, options.output, endpoints, track=[tokenizer])
    print(f"Wrote {options.output} with the endpoints {', '.join(endpoints)}.")
