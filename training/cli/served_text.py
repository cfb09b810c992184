"""Commands that use a trained translation model or classifier: `translate` and `classify`."""

import argparse
from collections.abc import Iterable
from typing import Any

from moe_zoo.terminal import show_text

from .parser import file_path, real, unicode_text, whole
from .text import PROGRAM


def add_served_text(commands: Any) -> None:
    """Add the options of `translate` and `classify`."""
    translate = _add(commands, "translate", "translate texts with a finished run of translation")
    translate.add_argument(
        "--max-new-tokens",
        type=whole,
        default=100,
        metavar="N",
        help="largest number of tokens of a translation (default 100)",
    )
    translate.add_argument(
        "--num-beams",
        type=whole,
        default=4,
        metavar="N",
        help="number of beams; 1 is greedy (default 4)",
    )
    translate.add_argument(
        "--length-penalty",
        type=real,
        default=0.6,
        metavar="ALPHA",
        help="length penalty of beam search; larger values favor longer texts (default 0.6)",
    )
    translate.set_defaults(run=run_translate)
    classify = _add(commands, "classify", "classify texts with a finished run of classifier")
    classify.set_defaults(run=run_classify)


def _add(commands: Any, name: str, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=PROGRAM)
    parser.add_argument("model", type=file_path, help="folder of a finished run, or a SavedModel")
    parser.add_argument(
        "--text", type=unicode_text, action="append", required=True, help="text; may be repeated"
    )
    return parser


def run_translate(options: argparse.Namespace) -> None:
    """Print translations."""
    from moe_zoo.models.checks import check_options

    values = check_options(
        max_new_tokens=options.max_new_tokens,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
    )
    for text in _serve(options, "translate", values.values()):
        show_text(text.strip())


def run_classify(options: argparse.Namespace) -> None:
    """Print labels and their probabilities."""
    result = _serve(options, "classify")
    for text, label, probabilities in zip(
        options.text, result["label"], result["probabilities"], strict=True
    ):
        show_text(f"{label} ({max(probabilities):.1%}): {text}")


def _serve(options: argparse.Namespace, endpoint: str, values: Iterable[float] = ()) -> Any:
    from moe_zoo.training.runs.serving import serve_in_fresh_process

    return serve_in_fresh_process(options.model, endpoint, options.text, values)
