"""What one random case came to."""

import re
from typing import NamedTuple

RIGHT, REFUSED, UNCLEAR = "right", "refused", "unclear"
# An error of the house says what it expected and what it received, at a length that can be read.
HOUSE = re.compile(r"Expected .*Received[:,]? ?.*", re.DOTALL)
LONGEST = 2_000


class Verdict(NamedTuple):
    """`kind` is one of the three words, `detail` tells what was refused or went wrong."""

    kind: str
    detail: str = ""


def of_error(error: BaseException) -> Verdict:
    """Refused if the error is meant for the user and reads so, else unclear."""
    text = str(error)
    said = f"{type(error).__name__}: {text[:LONGEST]}"
    meant = isinstance(error, ValueError | TypeError | OSError | ImportError)
    if meant and HOUSE.search(text) and len(text) <= LONGEST:
        return Verdict(REFUSED, said)
    return Verdict(UNCLEAR, said)
