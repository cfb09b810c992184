"""A page that shows which expert computed which token: one HTML file that needs no other."""

import contextlib
import html
import os
from collections.abc import Mapping
from typing import Any

from moe_zoo.files import check_place, write_file
from moe_zoo.validation import shown

from .expert_table import describe_layer, expert_rows, visible
from .routing import RoutedText

# Okabe and Ito's colors, which the color-blind tell apart, and a legible text color for each.
COLORS = (
    ("#e69f00", "#000"),
    ("#56b4e9", "#000"),
    ("#009e73", "#000"),
    ("#f0e442", "#000"),
    ("#0072b2", "#fff"),
    ("#d55e00", "#000"),
    ("#cc79a7", "#000"),
    ("#bbbbbb", "#000"),
)
DOCTYPE = "<!doctype html>"
STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .7rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td.number { text-align: right; }
.bar { display: inline-block; height: .8em; background: #0072b2; }
.text { line-height: 2.1; overflow-wrap: anywhere; }
.token { display: inline-block; line-height: 1.5; border-radius: 3px; padding: 0 .15em; }
.token { white-space: pre-wrap; }
code { white-space: pre; background: #8882; }
.token sub { font-size: .65em; }
.dropped { text-decoration: line-through; opacity: .65; }
.faint .token:not(.chosen) { opacity: .15; }
button { font: inherit; border: 0; border-radius: 3px; padding: 0 .6em; cursor: pointer; }
button[aria-pressed=true] { outline: 3px solid currentColor; }
"""
SCRIPT = """
for (const section of document.querySelectorAll("section")) {
  for (const button of section.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of section.querySelectorAll("button"))
        other.setAttribute("aria-pressed", String(on && other === button));
      section.classList.toggle("faint", on);
      for (const token of section.querySelectorAll(".token"))
        token.classList.toggle("chosen",
          token.dataset.experts.split(" ").includes(button.dataset.expert));
    });
  }
}
"""


def check_page(path: str | os.PathLike) -> None:
    """Refuse to replace a file that is not a page.

    Raises:
        ValueError: As `moe_zoo.files.check_place`, or if there is a file other than HTML.
    """
    place = check_place(path)
    with contextlib.suppress(FileNotFoundError), open(place, "rb") as file:
        head = file.read(len(DOCTYPE))
        if head and head.lower() != DOCTYPE.encode():
            raise ValueError(
                f"Expected a new file, or a page to replace. Received: path={shown(str(path))}, "
                "which is another file. Choose another path."
            )


def write_routing_page(
    path: str | os.PathLike,
    title: str,
    layers: Mapping[str, RoutedText],
    top: int = 8,
    most: int = 100,
) -> None:
    """Write the page; it appears when it is complete.

    Each layer has a line on load and drops, a table of the experts with their most frequent tokens,
    and the texts, colored and numbered by expert, with dropped tokens struck through. A click on an
    expert leaves only its tokens; hovering shows experts and gates. Markup in a text is shown as
    text.

    Args:
        path: HTML file.
        title: Title of the page.
        layers: Routed texts by name of the layer.
        top: Tokens to list of each expert.
        most: Texts to show token by token.

    Raises:
        ValueError: As `check_page`.
        OSError: If the file cannot be written.
    """
    check_page(path)
    title = html.escape(title)
    sections = "".join(_section(name, text, top, most) for name, text in layers.items())
    write_file(
        path,
        f'{DOCTYPE}\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
        "<p>Which expert computes which token. Click an expert to see its tokens alone; hover over "
        f"a token for its gates.</p>{sections}"
        f"<script>{SCRIPT}</script></body></html>\n",
    )


def _section(name: str, text: RoutedText, top: int, most: int) -> str:
    lines = [html.escape(line.strip()) for line in describe_layer(name, text).splitlines()]
    rows = "".join(map(_row, expert_rows(text, top)))
    texts = "".join(
        f'<p class="text">{_tokens(text, row)}</p>' for row in range(min(most, len(text.ids)))
    )
    return (
        f"<section><h2>{html.escape(name)}</h2><p>{'<br>'.join(lines)}</p><table><tr><th>expert"
        "<th>tokens<th>share<th><th>mean gate<th>most often</tr>"
        f"{rows}</table>{texts}</section>"
    )


def _row(row: Mapping[str, Any]) -> str:
    expert, gate = row["expert"], "–" if row["gate"] is None else f"{row['gate']:.3f}"
    words = ", ".join(f"<code>{html.escape(piece)}</code> {n}" for piece, n in row["top"])
    return (
        f'<tr><td><button type="button" aria-pressed="false" data-expert="{expert}" '
        f'style="{_style(expert)}">{expert}</button>'
        f'<td class="number">{row["tokens"]:,}<td class="number">{row["share"]:.1%}'
        f'<td><span class="bar" style="width:{12 * row["share"]:.2f}rem"></span>'
        f'<td class="number">{gate}<td>{words}</tr>'
    )


def _tokens(text: RoutedText, row: int) -> str:
    length = text.ids.shape[1]
    tokens = []
    for place in range(row * length, (row + 1) * length):
        if not text.routed.real[place]:
            continue
        choices = [
            (int(expert), float(gate), bool(kept))
            for expert, gate, kept in zip(
                text.routed.experts[place],
                text.routed.gates[place],
                text.routed.kept[place],
                strict=True,
            )
            if expert < text.routed.num_experts
        ]
        tokens.append(_token(visible(text.pieces[int(text.ids.flat[place])]), choices))
    return "".join(tokens)


def _token(piece: str, choices: list[tuple[int, float, bool]]) -> str:
    hover = "; ".join(
        f"expert {expert}, gate {gate:.3f}" + ("" if kept else ", dropped")
        for expert, gate, kept in choices
    )
    numbers = " ".join(str(expert) for expert, _, _ in choices)
    dropped = "" if any(kept for _, _, kept in choices) else " dropped"
    style = _style(choices[0][0]) if choices else ""
    return (
        f'<span class="token{dropped}" style="{style}" data-experts="{numbers}" '
        f'title="{hover or "no expert"}">{html.escape(piece)}<sub>{numbers}</sub></span>'
    )


def _style(expert: int) -> str:
    background, color = COLORS[expert % len(COLORS)]
    return f"background:{background};color:{color}"
