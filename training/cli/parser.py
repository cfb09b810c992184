"""The parser of the command, and the types of its options, with short errors for any input."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

from moe_zoo.validation import one_line, shown

LONGEST_PATH = 4096  # the limit of Linux
Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose errors are one line of bounded length."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


def whole(text: str) -> int:
    """Parse an integer."""
    return _number(int, text, "a whole number")


def real(text: str) -> float:
    """Parse a number; the check of its setting refuses one that is not finite."""
    return _number(float, text, "a number")


def file_path(text: str) -> str:
    """Check that a text can be the path of a file."""
    if not text.strip() or "\0" in text or len(text) > LONGEST_PATH:
        raise argparse.ArgumentTypeError(
            f"Expected a path of 1 to {LONGEST_PATH} characters. Received: {shown(text)}. Leave "
            "out the option for its default."
        )
    return text


def unicode_text(text: str) -> str:
    """Check that a text is valid UTF-8, which a terminal of another encoding does not give."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(
            f"Expected text in UTF-8. Received: {shown(text)}. Set the terminal to UTF-8."
        ) from error
    return text


def _number(kind: Callable[[str], Number], text: str, what: str) -> Number:
    try:
        return kind(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"Expected {what}. Received: {shown(text)}. Write it in digits, such as 2"
            f"{'' if kind is int else ' or 0.5'}."
        ) from error
