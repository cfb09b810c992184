"""Text for a terminal: control characters escaped, output flushed, tables."""

import contextlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Control characters but tab and newline, halves of surrogate pairs, line separators, and marks that
# change the direction of the text around them.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text whose escape codes are shown as in a Python string; newlines and tabs stay.

    Example:

    >>> printable("\x1b[31mred\x07\nnext line") == "\\x1b[31mred\\x07\nnext line"
    True
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def show_text(text: str = "", error: bool = False) -> None:
    """Print a text that others may have written, such as prompts, names in files and messages.

    Args:
        text: The text, of one line or several.
        error: Whether it goes to the stream of errors.
    """
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=error)


@contextlib.contextmanager
def whole_output() -> Iterator[None]:
    """Flush the output of this context at its end.

    Raises:
        OSError: If it cannot be written: the disk is full, or the reader has gone. Python would
            show a traceback at its exit, where it tries once more.
    """
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


@contextlib.contextmanager
def printable_warnings() -> Iterator[None]:
    """Show Python's warnings by `printable` within this context."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda *message, **options: printable(before(*message, **options))
    try:
        yield
    finally:
        warnings.formatwarning = before


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGKILL; most real-time signals have only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def format_table(rows: Sequence[Mapping[Any, Any]], columns: Mapping[Any, str]) -> str:
    """Return rows as text with aligned columns, numbers to the right, `-` for missing values.

    Args:
        rows: Values of each row by key.
        columns: Headings by key.

    Example:

    >>> print(format_table([{"a": "x", "b": 1}, {"a": "yy"}], {"a": "name", "b": "count"}))
    name  count
    ----  -----
    x         1
    yy        -
    """
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    lines = [list(columns.values()), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    numeric = [all(not isinstance(row.get(key), str) for row in rows) for key in columns]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
