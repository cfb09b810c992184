"""The parser of the command, and the types of its options: whatever is typed, errors stay short."""

import argparse
import sys

from moe_zoo.validation import one_line, shown

LONGEST_PATH = 4096  # what Linux takes


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose errors have one line of bounded length."""

    def error(self, message):
        """Print the usage and the error, and exit with 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


def whole(text):
    """A whole number."""
    return _number(int, text, "a whole number")


def real(text):
    """A number; what is not finite is refused where its range is known."""
    return _number(float, text, "a number")


def file_path(text):
    """A path that a file can have."""
    if not text.strip() or "\0" in text or len(text) > LONGEST_PATH:
        raise argparse.ArgumentTypeError(
            f"Expected a path of 1 to {LONGEST_PATH} characters. Received: {shown(text)}. Leave "
            "the option out for its default."
        )
    return text


def unicode_text(text):
    """A text as UTF-8 has it: what a terminal of another encoding gives are no characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(
            f"Expected text in UTF-8. Received: {shown(text)}. Set the terminal to UTF-8."
        ) from error
    return text


def _number(kind, text, what):
    try:
        return kind(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"Expected {what}. Received: {shown(text)}. Write it in digits, as 2"
            f"{'' if kind is int else ' or 0.5'}."
        ) from error
