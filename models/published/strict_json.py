"""JSON as the standard has it, of which Python's reader accepts more."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_zoo.files import read_file
from moe_zoo.validation import shown

LONGEST = 100_000_000  # bytes, as safetensors bounds its header


@dataclass(frozen=True)
class Repeated:
    """An object with two values of one name, which readers take differently."""

    name: str


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; an object with a repeated name is a `Repeated`.

    Numbers that are not finite (`NaN`, `1e999`) are `nan`, which no check of ours accepts.

    Raises:
        ValueError: If `data` is no JSON, or nested too deeply for Python.

    Example:

    >>> parse_json(b'{"a": [NaN, 1e999], "b": {"c": 1, "c": 2}}')
    {'a': [nan, nan], 'b': Repeated(name='c')}
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=lambda _: math.nan,
            parse_float=lambda text: x if math.isfinite(x := float(text)) else math.nan,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ValueError: If the file is longer than 100 MB, is no JSON, holds something else than one
            object, or one with a repeated name.
    """
    if (size := path.stat().st_size) > LONGEST:
        raise ValueError(f"Expected a JSON file of at most 100 MB. Received: {size} bytes.")
    data = read_file(path)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise ValueError(
            f"Expected JSON. Received: what is none: {error}. Download the file again."
        ) from error
    if isinstance(value, Repeated):
        raise ValueError(f"Expected every name once. Received: {shown(value.name)} twice.")
    if not isinstance(value, dict):
        raise ValueError(f"Expected a JSON object. Received: {shown(value)}.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict | Repeated:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    counts = Counter(name for name, _ in pairs)
    return Repeated(counts.most_common(1)[0][0])
