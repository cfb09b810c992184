"""Commands that use a trained model: `evaluate`, `generate` and `export`."""

import argparse
from typing import Any

from moe_zoo.terminal import show_text
from moe_zoo.validation import shown

from .parser import file_path, real, unicode_text, whole

PROGRAM = "A SavedModel is a program, which this command runs. Use only models that you trust."


def add_text_commands(commands: Any) -> None:
    """Add the options of `evaluate`, `generate` and `export`."""
    evaluate = commands.add_parser(
        "evaluate", help="compute a language model's perplexity and expert balance on a text"
    )
    evaluate.add_argument("model", type=file_path, help="folder of a finished run")
    evaluate.add_argument(
        "--data",
        type=file_path,
        metavar="PATH",
        help="text file or folder (default: Python's standard library)",
    )
    evaluate.add_argument(
        "--batch-size", type=whole, metavar="N", help="windows in a batch (default: as in the run)"
    )
    evaluate.add_argument(
        "--sequence-length",
        type=whole,
        metavar="N",
        help="tokens in a window (default: as in the run)",
    )
    evaluate.set_defaults(run=run_evaluate)

    generate = commands.add_parser(
        "generate", help="continue a prompt with a language model", description=PROGRAM
    )
    generate.add_argument("model", type=file_path, help="folder of a finished run, or a SavedModel")
    generate.add_argument(
        "--prompt",
        type=unicode_text,
        action="append",
        required=True,
        help="text to continue; may be repeated",
    )
    generate.add_argument(
        "--max-new-tokens",
        type=whole,
        default=60,
        metavar="N",
        help="number of tokens to add (default 60)",
    )
    generate.add_argument(
        "--temperature",
        type=real,
        default=0.7,
        metavar="T",
        help="sampling temperature; 0 takes the most probable token (default 0.7)",
    )
    generate.add_argument(
        "--top-k",
        type=whole,
        default=20,
        metavar="K",
        help="sample from the K most probable tokens; 0 for all (default 20)",
    )
    generate.add_argument(
        "--top-p",
        type=real,
        default=1.0,
        metavar="P",
        help="sample from the fewest most probable tokens whose probabilities add up to P (default "
        "1: all)",
    )
    generate.add_argument("--seed", type=whole, default=0, help="seed of sampling (default 0)")
    generate.add_argument(
        "--num-beams",
        type=whole,
        default=1,
        metavar="N",
        help="2 or more: beam search with N beams instead of sampling (default 1)",
    )
    generate.add_argument(
        "--length-penalty",
        type=real,
        default=0.6,
        metavar="A",
        help="length penalty of beam search; larger values favor longer texts, 0 for none (default "
        "0.6)",
    )
    generate.set_defaults(run=run_generate)

    export = commands.add_parser("export", help="write a SavedModel that takes token ids and texts")
    export.add_argument("model", type=file_path, help="folder of a finished run")
    export.add_argument(
        "--output", type=file_path, required=True, metavar="DIR", help="folder to write"
    )
    export.set_defaults(run=run_export)


def run_evaluate(options: argparse.Namespace) -> None:
    """Print the perplexity and expert balance on a text."""
    from moe_zoo.models.text.language_model import LanguageModel
    from moe_zoo.terminal import format_table
    from moe_zoo.training.runs.evaluation import (
        LANGUAGE_MODEL_COLUMNS,
        dropless_note,
        evaluate_tokens,
    )
    from moe_zoo.training.runs.finished_run import load_from_folder
    from moe_zoo.training.runs.run_folder import read_description
    from moe_zoo.training.text.corpus import read_corpus
    from moe_zoo.training.text.text_dataset import encode_documents
    from moe_zoo.validation import check_int

    for name in ("batch_size", "sequence_length"):
        if getattr(options, name) is not None:
            check_int(name, getattr(options, name), least=1)
    model, tokenizer = load_from_folder(options.model)
    if not isinstance(model, LanguageModel):
        raise ValueError(
            f"Expected the run of a language model. Received: {shown(options.model)}, which holds "
            f"{type(model).__name__}. See results.json there for its results on the test part."
        )
    settings = read_description(options.model)
    sizes = {"batch_size": 64, "sequence_length": 32}
    for name, default in sizes.items():
        size = getattr(options, name)
        sizes[name] = settings.get(name, default) if size is None else size
    corpus = read_corpus(options.data)
    # All of the user's text, but only the unseen part of the default text.
    documents = corpus.test
    if options.data is not None:
        documents = corpus.train + corpus.validation + corpus.test
    tokens = encode_documents(tokenizer, documents)
    characters = sum(len(document.text) for document in documents)
    row = evaluate_tokens(model, tokens, characters, sizes["batch_size"], sizes["sequence_length"])
    row = {"model": model.name, "parameters": model.count_params(), **row}
    show_text(f"{len(tokens):,} tokens, {characters:,} characters.\n")
    columns = {key: name for key, name in LANGUAGE_MODEL_COLUMNS.items() if key in row}
    show_text(format_table([row], columns) + dropless_note([row]))


def run_generate(options: argparse.Namespace) -> None:
    """Print continuations."""
    from moe_zoo.training.runs.serving import generate_in_fresh_process

    texts = generate_in_fresh_process(
        options.model,
        options.prompt,
        options.max_new_tokens,
        options.temperature,
        options.top_k,
        options.top_p,
        options.seed,
        options.num_beams,
        options.length_penalty,
    )
    show_text("\n\n".join(texts))


def run_export(options: argparse.Namespace) -> None:
    """Write a SavedModel."""
    from moe_zoo.export import check_new_or_saved_model
    from moe_zoo.training.runs.finished_run import load_from_folder

    check_new_or_saved_model(options.output)  # before the slow work
    model, _ = load_from_folder(options.model)
    model.export(options.output)
    show_text(f"Wrote {options.output} with the endpoints {', '.join(model.endpoints())}.")
