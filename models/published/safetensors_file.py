"""Files of the safetensors format, read and written one tensor at a time.

A file is the length of its header (8 bytes, little-endian), the header in JSON, and the tensors,
row by row. The package `safetensors` maps files into memory, so that all pages that were read count
as the process's own, and it writes only what stands in memory at once. Neither is so here.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from moe_zoo.validation import shown

from .strict_json import LONGEST, Repeated, parse_json

DTYPES = {
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
CODES = {dtype.name: code for code, dtype in DTYPES.items()}
LENGTH = 8
MOST_AXES = 32  # of a tensor; no model has more than a few
PART = 16 << 20  # bytes that are read at a time
METADATA = "__metadata__"
FIELDS = {"dtype", "shape", "data_offsets"}
WrittenTensor = tuple[np.dtype, tuple[int, ...], Callable[[], np.ndarray]]


class StoredTensor(NamedTuple):
    """A tensor in a file: where it lies, not yet read."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    def read(self) -> np.ndarray:
        """Return the values, `<float32>[...]`, into which every dtype of `DTYPES` fits exactly."""
        return self._read_rows(0, self.shape[0] if self.shape else 1).reshape(self.shape)

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number of the first row, values) of all rows in turn, some megabytes each."""
        width = math.prod(self.shape[1:]) * np.dtype(np.float32).itemsize
        step = max(1, PART // max(1, width))
        rows = self.shape[0] if self.shape else 1
        for begin in range(0, rows if width else 0, step):
            end = min(begin + step, rows)
            yield begin, self._read_rows(begin, end)

    def _read_rows(self, begin: int, end: int) -> np.ndarray:
        width = math.prod(self.shape[1:])
        offset = self.offset + begin * width * self.dtype.itemsize
        count = (end - begin) * width
        values = np.fromfile(self.path, f"u{self.dtype.itemsize}", count, offset=offset)
        if len(values) < count:  # shorter than when its header was read
            raise _damaged(self.path, "shorter than its header says")
        values = values.view(self.dtype).reshape(end - begin, *self.shape[1:])
        return values.astype(np.float32, copy=False)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name, reading only its header.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, damaged or not as the format says: a header of more
            than 100 MB, tensors that overlap or leave a hole, names that repeat. Also if it holds
            another dtype than float32, float16 and bfloat16.

    Reference: https://huggingface.co/docs/safetensors, "Format".
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if size < LENGTH or length > size - LENGTH:
            raise _damaged(path, f"{size} bytes long, and its header does not fit into it")
        if length > LONGEST:
            raise _damaged(path, f"with a header of {length} bytes, of which 100 MB are allowed")
        entries = _parse(path, file.read(length))
    begin = LENGTH + length
    tensors = {name: _stored(path, name, entry, begin) for name, entry in entries.items()}
    _check_places(path, entries, size - begin)
    return tensors


def _parse(path: Path, text: bytes) -> dict:
    """Return the header's entries by the tensors' names, without the metadata."""
    try:
        if not text.startswith(b"{"):
            raise ValueError("it does not begin with {")
        header = parse_json(text)
    except ValueError as error:
        raise _damaged(path, f"without a header that can be read: {error}") from error
    if isinstance(header, Repeated):
        raise _damaged(path, f"with two tensors named {shown(header.name)}")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise _damaged(path, f"with {METADATA} that is no map of text to text")
    return header


def _stored(path: Path, name: str, entry: Any, begin: int) -> StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != FIELDS:
        what = list(entry) if isinstance(entry, dict) else entry
        raise _damaged(
            path, f"with {shown(what)} for {shown(name)}, not {sorted(FIELDS)} once each"
        )
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str):
        raise _damaged(path, f"with dtype {shown(code)} for {shown(name)}")
    if code not in DTYPES:
        raise ValueError(
            f"Expected tensors of {', '.join(DTYPES)}. Received: {path}, in which {shown(name)} is "
            f"{shown(code)}. Save it as float32 or bfloat16."
        )
    if not _are_sizes(shape) or len(shape) > MOST_AXES:
        raise _damaged(path, f"with shape {shown(shape)} for {shown(name)}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise _damaged(path, f"with data_offsets {shown(offsets)} for {shown(name)}, not two sizes")
    first, end = offsets
    if end - first != math.prod(shape) * DTYPES[code].itemsize:
        raise _damaged(
            path, f"with {end - first} bytes for {shown(name)}, {code} of shape {shown(shape)}"
        )
    return StoredTensor(path, DTYPES[code], tuple(shape), begin + first)


def _are_sizes(values: Any) -> bool:
    """Tell whether a value of the header is a list of whole numbers of 63 bits."""
    return isinstance(values, list) and all(type(x) is int and 0 <= x < 1 << 63 for x in values)


def _check_places(path: Path, entries: dict, size: int) -> None:
    """Raise `ValueError` unless the tensors follow one another to the end of the file."""
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        first, end = entry["data_offsets"]
        if first != place:
            what = "overlaps another tensor" if first < place else "comes after a hole"
            raise _damaged(path, f"damaged: {shown(name)} begins at {first}, where it {what}")
        place = end
    if place != size:
        raise _damaged(path, f"{size} bytes long after its header in place of {place}")


def write_tensors(path: Path, tensors: dict[str, WrittenTensor]) -> None:
    """Write a file, tensor by tensor.

    Args:
        path: path of the new file.
        tensors: `dict` of `(dtype, shape, function)` by name; the function gives the values, and is
            called when it is their turn.
    """
    header: dict[str, dict] = {METADATA: {"format": "pt"}}
    end = 0
    for name, (dtype, shape, _) in tensors.items():
        begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        code = CODES[np.dtype(dtype).name]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH)  # the tensors begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for dtype, shape, values in tensors.values():
            array = np.ascontiguousarray(values().astype(dtype, copy=False))
            if array.shape != tuple(shape):
                raise ValueError(f"Expected shape={tuple(shape)}. Received: shape={array.shape}.")
            file.write(array.view(f"u{array.itemsize}").data)


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(
        f"Expected a whole safetensors file. Received: {path}, {what}. Download or write it again."
    )
