"""`moe-zoo routing`: show which expert computes which token, in the terminal."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_zoo.terminal import show_text
from moe_zoo.validation import check_int, shown

from .parser import file_path, unicode_text, whole

if TYPE_CHECKING:
    from moe_zoo.analysis.routing import RoutedText

# The nearest of a terminal's 256 colors to those of Okabe and Ito, which color-blind people can
# tell apart. The number of the expert follows each token, so that the color is not needed.
COLORS = (214, 117, 36, 227, 32, 166, 176, 250)
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
COLUMNS = {
    "expert": "expert",
    "tokens": "tokens",
    "share": "share",
    "gate": "mean gate",
    "top": "most often",
}


def add_routing(commands: Any) -> None:
    """Add the options of `moe-zoo routing`."""
    parser = commands.add_parser(
        "routing",
        help="show which expert computes which token of a text",
        description="Show which expert computes which token of some texts, layer by layer: each "
        "token with the numbers of its experts, colored by the first one, with × where an expert "
        "had no capacity left, and for each expert its share and its most frequent tokens.",
    )
    parser.add_argument("model", type=file_path, help="folder of a finished run")
    parser.add_argument(
        "--text", type=unicode_text, action="append", default=[], help="text; may be repeated"
    )
    parser.add_argument(
        "--data", type=file_path, metavar="PATH", help="text file with one text in each line"
    )
    parser.add_argument("--layer", metavar="NAME", help="show only this layer")
    parser.add_argument(
        "--top",
        type=whole,
        default=8,
        metavar="N",
        help="most frequent tokens of each expert to show (default 8)",
    )
    parser.add_argument(
        "--shown",
        type=whole,
        default=8,
        metavar="N",
        help="texts to show token by token (default 8)",
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="color the tokens; auto: in a terminal, unless NO_COLOR is set (default auto)",
    )
    parser.add_argument(
        "--html", type=file_path, metavar="FILE", help="also write a page in one file"
    )
    parser.add_argument(
        "--png",
        type=file_path,
        metavar="FOLDER",
        help="also write a picture of each layer, with matplotlib",
    )
    parser.set_defaults(run=run_routing)


def run_routing(options: argparse.Namespace) -> None:
    """Print the tokens by expert, and a table of each layer."""
    from moe_zoo.analysis.expert_table import describe_layer
    from moe_zoo.analysis.routing_page import check_page, write_routing_page
    from moe_zoo.analysis.routing_pictures import require_matplotlib, write_routing_pictures
    from moe_zoo.files import check_place
    from moe_zoo.training.runs.finished_run import load_from_folder
    from moe_zoo.training.runs.routed_text import route_texts
    from moe_zoo.training.text.text_lines import read_lines

    top = check_int("top", options.top, least=1)
    count = check_int("shown", options.shown, least=0)
    texts = [*options.text, *(read_lines(options.data) if options.data else ())]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(
            "Expected at least one text. Received: no --text, and no line in --data. Give one, for "
            'example: moe-zoo routing FOLDER --text "Some words."'
        )
    # Fail now if something is missing or in the way, not after the slow work.
    if options.html:
        check_page(options.html)
    if options.png:
        require_matplotlib()
        check_place(options.png, folder=True)
    model, tokenizer = load_from_folder(options.model)
    layers = route_texts(model, tokenizer, texts)
    names = {path.split("/")[-1]: path for path in layers}
    if options.layer is not None:
        if options.layer not in names:
            raise ValueError(
                f"Expected one of {', '.join(names)}. Received: layer={shown(options.layer)}. "
                "Leave it out to show all layers."
            )
        names = {options.layer: names[options.layer]}
    color = wants_color(options.color)
    for name, path in names.items():
        show_text(f"\n{describe_layer(name, layers[path])}\n")
        for row in range(min(count, len(texts))):
            print(f"  {colored(layers[path], row, color)}\n")
        show_text(table(layers[path], top))
    shown_layers = {name: layers[path] for name, path in names.items()}
    if options.html:
        title = f"Routing of {Path(options.model).resolve().name}"
        write_routing_page(options.html, title, shown_layers, top)
        show_text(f"\nWrote {options.html}.")
    if options.png:
        paths = write_routing_pictures(options.png, shown_layers)
        show_text("\nWrote " + ", ".join(map(str, paths)) + ".")


def wants_color(choice: str) -> bool:
    """Decide whether to color; https://no-color.org describes NO_COLOR."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"


def colored(text: "RoutedText", row: int, color: bool) -> str:
    """Format the tokens of a text with the numbers of their experts, and `×` where one is dropped.

    Args:
        text: Routed texts.
        row: Index of the text.
        color: Whether to color tokens by their first expert, and to strike through tokens that all
            experts dropped.
    """
    from moe_zoo.analysis.expert_table import visible

    length = text.ids.shape[1]
    pieces = []
    for place in range(row * length, (row + 1) * length):
        if not text.routed.real[place]:
            continue
        piece = visible(text.pieces[int(text.ids.flat[place])])
        experts, kept = text.routed.experts[place].tolist(), text.routed.kept[place]
        numbers = "₊".join(
            str(expert).translate(SUBSCRIPTS) + "×" * (not computed)
            for expert, computed in zip(experts, kept, strict=True)
            if expert < text.routed.num_experts
        )
        piece += numbers
        if color and numbers:
            style = f"30;48;5;{COLORS[experts[0] % len(COLORS)]}" + ";9" * (not kept.any())
            piece = f"\x1b[{style}m{piece}\x1b[0m"
        pieces.append(piece)
    return "".join(pieces)


def table(text: "RoutedText", top: int) -> str:
    """Format the load and the most frequent tokens of each expert.

    Args:
        text: Routed texts.
        top: Number of tokens of each expert.
    """
    from moe_zoo.analysis.expert_table import expert_rows
    from moe_zoo.terminal import format_table

    rows = [
        {
            **row,
            "share": f"{row['share']:.1%}",
            "top": ", ".join(f"{piece!r} {number}" for piece, number in row["top"]),
        }
        for row in expert_rows(text, top)
    ]
    return format_table(rows, COLUMNS)
